"""Whom a tenant may have dialled: the pure policy, and what is refused when it is kept."""

from dataclasses import replace

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from tests.support.factories import Platform, Tenant, fresh_number
from vca.tenant.settings.dialling import (
    DialDecision,
    DialPolicy,
    RecentDials,
    check_dial,
    effective_policy,
)
from vca.tenant.settings.models import Settings

POLICY = DialPolicy(("US", "GB"), "US", per_minute=10, per_day=200)
EVERYWHERE = replace(POLICY, countries=tuple(sorted(phonenumbers.SUPPORTED_REGIONS)))
LONDON, NEW_YORK = "+442071234567", "+12125550123"


def _verdict(
    number: str = NEW_YORK,
    policy: DialPolicy = POLICY,
    *,
    recent: RecentDials = RecentDials(),  # noqa: B008 # frozen
    own_number: bool = False,
    frozen: bool = False,
) -> DialDecision:
    return check_dial(number, policy=policy, recent=recent, own_number=own_number, frozen=frozen)


@pytest.mark.parametrize(
    "number",
    [
        LONDON,
        NEW_YORK,
        "+447400123456",  # mobile
        "+445612345678",  # VoIP
        "+18005551234",  # freephone at home
    ],
)
def test_an_ordinary_number_in_an_allowed_country_is_dialled(number: str) -> None:
    assert _verdict(number).allowed


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("+1911", "emergency_number"),
        ("+19115550100", "emergency_number"),
        ("+44999", "emergency_number"),
        ("+44112", "emergency_number"),
        ("+49110", "emergency_number"),
        ("+33112", "emergency_number"),
        ("911", "emergency_number"),
        ("112", "emergency_number"),
        ("999", "emergency_number"),
        ("+1411", "invalid_number"),  # directory enquiries
        ("+44118118", "invalid_number"),
        ("+4411850012", "invalid_number"),
        ("411", "invalid_number"),
        ("", "invalid_number"),
        ("+", "invalid_number"),
        ("+1", "invalid_number"),
        ("+999999999999", "invalid_number"),
        ("12125550123", "invalid_number"),
        ("+1 212 555 0123", "invalid_number"),
        ("+12125550123;ext=9", "invalid_number"),
        ("tel:+12125550123", "invalid_number"),
        ("sip:anyone@example.com", "invalid_number"),
        ("+\u0661\u0662\u0661\u0662\u0665\u0665\u0665\u0660\u0661\u0662\u0663", "invalid_number"),
        ("+19002345678", "number_type"),  # premium rate
        ("+449098790123", "number_type"),
        ("+448431234567", "number_type"),
        ("+498001234567", "number_type"),  # freephone, abroad
        ("+448001111111", "number_type"),
        ("+491801234567", "number_type"),  # shared cost
        ("+443301234567", "number_type"),  # one number for a whole company, UAN
        ("+447640123456", "number_type"),  # pager
        ("+447012345678", "number_type"),  # personal
        ("+15002345678", "number_type"),
        ("+80012345678", "number_type"),  # freephone of no country
        ("+80812345678", "number_type"),
        ("+979123456789", "number_type"),
        ("+870773111632", "number_type"),  # satellite
        ("+881612345678", "number_type"),
        ("+882161234567", "number_type"),
        ("+883510012345", "number_type"),
        ("+33140000000", "country"),
        ("+18765230123", "country"),  # Jamaica: +1 is many countries
        ("+14165550123", "country"),  # Canada
        ("+16641234567", "invalid_number"),
        ("+441481256789", "country"),  # Guernsey: +44 is four
    ],
)
def test_everything_else_is_refused_by_its_rule(number: str, code: str) -> None:
    policy = EVERYWHERE if code == "number_type" else POLICY

    verdict = _verdict(number, policy)

    assert (verdict.allowed, verdict.code) == (False, code)


def test_no_kind_of_number_but_ordinary_ones_is_dialled_anywhere() -> None:
    kinds = {
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.PAGER,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
    examples = [
        phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        for region in phonenumbers.SUPPORTED_REGIONS
        for kind in kinds
        if (example := phonenumbers.example_number_for_type(region, kind)) is not None
    ]

    dialled = [number for number in examples if _verdict(number, EVERYWHERE).allowed]

    assert len(examples) > 200
    assert dialled == []


def test_no_countrys_emergency_number_is_dialled_however_it_is_spelt() -> None:
    dialled = [
        spelt
        for region in phonenumbers.SUPPORTED_REGIONS
        for short in ("110", "112", "113", "115", "117", "118", "119", "911", "999", "000")
        for spelt in (short, f"+{phonenumbers.country_code_for_region(region)}{short}")
        if _verdict(spelt, EVERYWHERE).allowed
    ]

    assert dialled == []


def test_an_ordinary_number_of_every_country_is_dialled_where_it_is_allowed() -> None:
    refused = {}
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number(region)
        number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        verdict = _verdict(number, DialPolicy((region,), region))
        if not verdict.allowed:
            refused[region] = verdict

    assert refused == {}


def test_freephone_is_dialled_at_home_only_wherever_else_is_allowed() -> None:
    british = "+448001111111"

    assert _verdict(british, replace(POLICY, home_country="GB")).allowed
    assert _verdict(british, replace(POLICY, home_country="US")).code == "number_type"
    assert _verdict("+18005551234", DialPolicy(("CA",), "CA")).allowed


def test_nobody_is_dialled_where_no_country_is_allowed() -> None:
    assert _verdict(policy=replace(POLICY, countries=())).code == "country"


def test_a_freeze_goes_before_everything() -> None:
    assert _verdict(frozen=True).code == "frozen"
    assert _verdict("+1911", frozen=True).code == "frozen"


def test_the_tenants_own_number_would_come_back() -> None:
    assert _verdict(own_number=True).code == "own_number"


@pytest.mark.parametrize(
    ("recent", "code"),
    [
        (RecentDials(9, 199), None),
        (RecentDials(10, 10), "per_minute"),
        (RecentDials(0, 200), "per_day"),
        (RecentDials(11, 999), "per_minute"),
    ],
)
def test_a_cap_is_reached_by_the_leg_that_would_exceed_it(
    recent: RecentDials, code: str | None
) -> None:
    assert _verdict(recent=recent).code == code


@given(
    number=st.one_of(st.text(), st.from_regex(r"\A\+[0-9]{0,20}\Z"), st.just(NEW_YORK)),
    countries=st.none() | st.lists(st.sampled_from(["US", "GB", "DE"])).map(tuple),
    home=st.none() | st.sampled_from(["US", "GB"]),
    recent=st.builds(RecentDials, st.integers(0, 20), st.integers(0, 400)),
    own_number=st.booleans(),
    frozen=st.booleans(),
)
def test_every_number_gets_a_verdict_and_only_a_refusal_a_code(
    number: str,
    countries: tuple[str, ...] | None,
    home: str | None,
    recent: RecentDials,
    own_number: bool,
    frozen: bool,
) -> None:
    verdict = _verdict(
        number, DialPolicy(countries, home), recent=recent, own_number=own_number, frozen=frozen
    )

    assert verdict.allowed is (verdict.code is None)
    assert verdict.reason
    assert not (verdict.allowed and (own_number or frozen))


def _settings(home: str | None = None, **policy: object) -> Settings:
    return Settings(home_country=home, dial_policy=policy)


@pytest.mark.parametrize(
    ("settings", "from_number", "countries", "home"),
    [
        (_settings(countries=["DE", "FR"]), LONDON, ("DE", "FR"), "GB"),
        (_settings("US", countries=["DE"]), LONDON, ("DE",), "US"),
        (_settings("US"), LONDON, ("US",), "US"),
        (_settings(), LONDON, ("GB",), "GB"),
        (_settings(), "+14165550123", ("CA",), "CA"),
        (_settings(), "+870773111632", (), None),
        (_settings(), None, None, None),
        (_settings("US"), None, ("US",), "US"),
        (_settings(countries=[]), None, (), None),
    ],
)
def test_the_allowed_countries_are_the_policys_else_home_else_the_numbers_own(
    settings: Settings,
    from_number: str | None,
    countries: tuple[str, ...] | None,
    home: str | None,
) -> None:
    policy = effective_policy(settings, from_number=from_number)

    assert (policy.countries, policy.home_country) == (countries, home)
    assert (policy.per_minute, policy.per_day) == (10, 200)


def test_a_tenants_caps_are_its_own() -> None:
    policy = effective_policy(_settings(per_minute=1, per_day=2), from_number=LONDON)

    assert (policy.per_minute, policy.per_day) == (1, 2)


@pytest.mark.parametrize("field", ["forward_to", "fallback_number"])
@pytest.mark.parametrize(
    ("number", "reason"),
    [("+449098790123", "number_type"), (NEW_YORK, "country"), ("+448001111111", None)],
)
def test_a_number_that_could_not_be_dialled_is_not_kept(
    acme: Tenant, field: str, number: str, reason: str | None
) -> None:
    one = f"/phone-numbers/{acme.number()['id']}"

    changed = acme.patch(one, {field: number})
    added = acme.post("/phone-numbers", {"did_number": fresh_number(), field: number})

    for answer, good in ((changed, 200), (added, 201)):
        if reason is None:
            assert answer.status_code == good
        else:
            assert answer.status_code == 400
            assert answer.json["errors"][0]["pointer"] == f"/{field}"
            assert reason in answer.json["errors"][0]["detail"]
    assert acme.get(one).json[field] == (number if reason is None else None)


def test_a_policy_of_its_own_lets_a_tenant_keep_numbers_abroad(acme: Tenant) -> None:
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})

    assert acme.number(forward_to=NEW_YORK)["forward_to"] == NEW_YORK
    refused = acme.post("/phone-numbers", {"did_number": fresh_number(), "forward_to": LONDON})
    assert "country" in refused.json["errors"][0]["detail"]


def test_a_narrower_policy_does_not_stand_in_the_way_of_other_changes(acme: Tenant) -> None:
    number = acme.number(fallback_number=fresh_number())
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})

    renamed = acme.patch(f"/phone-numbers/{number['id']}", {"label": "Front desk"})

    assert renamed.status_code == 200


def test_a_tenants_own_number_is_a_loop_and_anothers_is_a_number(
    acme: Tenant, globex: Tenant
) -> None:
    own, theirs = acme.number()["did_number"], globex.number()["did_number"]
    one = f"/phone-numbers/{acme.number()['id']}"

    loop = acme.patch(one, {"forward_to": own})

    assert loop.json["errors"][0]["pointer"] == "/forward_to"
    assert "own_number" in loop.json["errors"][0]["detail"]
    assert acme.patch(one, {"forward_to": theirs}).status_code == 200


def test_a_profiles_targets_are_checked_but_for_the_country(acme: Tenant) -> None:
    own = acme.number()["did_number"]
    targets = {
        "abroad": {"number": NEW_YORK},
        "hot/line": {"number": "+19002345678"},
    }
    profile = {"system_prompt": "You answer."}

    badly_named = acme.post("/ai-profiles", {**profile, "transfer_targets": targets})
    targets["hot line"] = targets.pop("hot/line")
    targets["loop"] = {"number": own}
    refused = acme.post("/ai-profiles", {**profile, "transfer_targets": targets})
    kept = acme.profile(transfer_targets={"abroad": {"number": NEW_YORK}})
    changed = acme.patch(f"/ai-profiles/{kept['id']}", {"transfer_targets": targets})

    assert badly_named.status_code == 400
    for answer in (refused, changed):
        assert answer.status_code == 400
        found = {error["pointer"]: error["detail"] for error in answer.json["errors"]}
        assert set(found) == {
            "/transfer_targets/hot line/number",
            "/transfer_targets/loop/number",
        }
        assert "number_type" in found["/transfer_targets/hot line/number"]
        assert "own_number" in found["/transfer_targets/loop/number"]
    assert acme.get(f"/ai-profiles/{kept['id']}").json["version"] == 1


def test_a_profiles_targets_are_in_the_countries_that_the_tenant_named(
    acme: Tenant, platform: Platform
) -> None:
    acme.patch("/settings", {"home_country": "GB"})

    refused = acme.post(
        "/ai-profiles",
        {"system_prompt": "You answer.", "transfer_targets": {"desk": {"number": NEW_YORK}}},
    )

    assert "country" in refused.json["errors"][0]["detail"]
