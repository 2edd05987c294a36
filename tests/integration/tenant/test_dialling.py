"""The dial policy: which numbers a tenant may dial, and which it may store."""

from dataclasses import replace

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from vca.kit.number_ranges import NumberRange
from vca.tenant.settings.dialling import (
    DialDecision,
    DialPolicy,
    RecentDials,
    check_dial,
    check_stopped,
    country_of,
    effective_policy,
)
from vca.tenant.settings.models import Settings

POLICY = DialPolicy(("US", "GB"), "US", per_minute=10, per_day=200)
EVERYWHERE = replace(POLICY, countries=tuple(sorted(phonenumbers.SUPPORTED_REGIONS)))
LONDON, NEW_YORK = "+442071234567", "+12125550123"


def _decide(
    number: str = NEW_YORK,
    policy: DialPolicy = POLICY,
    *,
    recent: RecentDials = RecentDials(),  # noqa: B008 # frozen
    own_number: bool = False,
    frozen: bool = False,
) -> DialDecision:
    stopped = check_stopped(frozen=frozen, tenant_status="active")
    return check_dial(number, policy=policy, recent=recent, own_number=own_number, stopped=stopped)


@pytest.mark.parametrize(
    "number",
    [
        LONDON,
        NEW_YORK,
        "+447400123456",  # mobile
        "+445612345678",  # VoIP
        "+18005551234",  # freephone in the home country
    ],
)
def test_an_ordinary_number_in_a_listed_country_is_allowed(number: str) -> None:
    assert _decide(number).allowed


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
        ("+498001234567", "number_type"),  # freephone in another country
        ("+448001111111", "number_type"),
        ("+491801234567", "number_type"),  # shared cost
        ("+443301234567", "number_type"),  # universal access number (UAN)
        ("+447640123456", "number_type"),  # pager
        ("+447012345678", "number_type"),  # personal
        ("+15002345678", "number_type"),
        ("+80012345678", "number_type"),  # international freephone
        ("+80812345678", "number_type"),
        ("+979123456789", "number_type"),
        ("+870773111632", "number_type"),  # satellite
        ("+881612345678", "number_type"),
        ("+882161234567", "number_type"),
        ("+883510012345", "number_type"),
        ("+33140000000", "country"),
        ("+18765230123", "country"),  # Jamaica: several countries share +1
        ("+14165550123", "country"),  # Canada
        ("+16641234567", "invalid_number"),
        ("+441481256789", "country"),  # Guernsey: four territories share +44
    ],
)
def test_any_other_number_is_denied_with_the_code_of_its_rule(number: str, code: str) -> None:
    policy = EVERYWHERE if code == "number_type" else POLICY

    decision = _decide(number, policy)

    assert (decision.allowed, decision.code) == (False, code)


def test_special_number_types_are_denied_in_every_country() -> None:
    denied_types = {
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
        for number_type in denied_types
        if (example := phonenumbers.example_number_for_type(region, number_type)) is not None
    ]

    allowed_numbers = [number for number in examples if _decide(number, EVERYWHERE).allowed]

    assert len(examples) > 200
    assert allowed_numbers == []


def test_emergency_numbers_are_denied_in_every_country_and_spelling() -> None:
    allowed_spellings = [
        spelling
        for region in phonenumbers.SUPPORTED_REGIONS
        for short_number in ("110", "112", "113", "115", "117", "118", "119", "911", "999", "000")
        for spelling in (
            short_number,
            f"+{phonenumbers.country_code_for_region(region)}{short_number}",
        )
        if _decide(spelling, EVERYWHERE).allowed
    ]

    assert allowed_spellings == []


def test_an_ordinary_number_of_every_country_can_be_allowed() -> None:
    denied_regions = {}
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number(region)
        assert example is not None
        number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        decision = _decide(number, DialPolicy((region,), region))
        if not decision.allowed:
            denied_regions[region] = decision

    assert denied_regions == {}


def test_a_freephone_number_is_allowed_in_the_home_country_only() -> None:
    british_number = "+448001111111"

    assert _decide(british_number, replace(POLICY, home_country="GB")).allowed
    assert _decide(british_number, replace(POLICY, home_country="US")).code == "number_type"
    assert _decide("+18005551234", DialPolicy(("CA",), "CA")).allowed


def test_a_policy_without_countries_denies_every_number() -> None:
    assert _decide(policy=replace(POLICY, countries=())).code == "country"


def test_a_freeze_takes_precedence_over_every_other_rule() -> None:
    assert _decide(frozen=True).code == "frozen"
    assert _decide("+1911", frozen=True).code == "frozen"


def test_a_number_of_the_same_tenant_is_denied() -> None:
    assert _decide(own_number=True).code == "own_number"


@pytest.mark.parametrize(
    ("recent", "code"),
    [
        (RecentDials(9, 199), None),
        (RecentDials(10, 10), "per_minute"),
        (RecentDials(0, 200), "per_day"),
        (RecentDials(11, 999), "per_minute"),
    ],
)
def test_the_leg_that_would_exceed_a_cap_is_denied(recent: RecentDials, code: str | None) -> None:
    assert _decide(recent=recent).code == code


@given(
    number=st.one_of(st.text(), st.from_regex(r"\A\+[0-9]{0,20}\Z"), st.just(NEW_YORK)),
    countries=st.none() | st.lists(st.sampled_from(["US", "GB", "DE"])).map(tuple),
    home=st.none() | st.sampled_from(["US", "GB"]),
    recent=st.builds(RecentDials, st.integers(0, 20), st.integers(0, 400)),
    own_number=st.booleans(),
    frozen=st.booleans(),
)
def test_every_number_gets_a_decision_and_only_a_denial_has_a_code(
    number: str,
    countries: tuple[str, ...] | None,
    home: str | None,
    recent: RecentDials,
    own_number: bool,
    frozen: bool,
) -> None:
    decision = _decide(
        number, DialPolicy(countries, home), recent=recent, own_number=own_number, frozen=frozen
    )

    assert decision.allowed is (decision.code is None)
    assert decision.reason
    assert not (decision.allowed and (own_number or frozen))


def _settings(home: str | None = None, **policy: object) -> Settings:
    return Settings(home_country=home, dial_policy=policy, limits={})


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
def test_countries_default_to_the_home_country_or_that_of_the_number(
    settings: Settings,
    from_number: str | None,
    countries: tuple[str, ...] | None,
    home: str | None,
) -> None:
    policy = effective_policy(settings, from_number=from_number)

    assert (policy.countries, policy.home_country) == (countries, home)
    assert (policy.per_minute, policy.per_day) == (10, 200)


def test_the_caps_of_a_tenant_replace_the_defaults() -> None:
    policy = effective_policy(_settings(per_minute=1, per_day=2), from_number=LONDON)

    assert (policy.per_minute, policy.per_day) == (1, 2)


@pytest.mark.parametrize(
    ("number", "country"),
    [
        (LONDON, "GB"),
        ("+14165550123", "CA"),
        ("+18765230123", "JM"),
        ("+441481256789", "GG"),
        ("+498001234567", "DE"),  # no other country has +49
        ("+18445550188", None),
        ("+18005551234", None),
        ("+448001111111", None),
        ("+15002345678", None),
        ("+19245550123", None),
        ("+80012345678", None),
        ("+870773111632", None),
        ("+2101234567", None),
    ],
)
def test_a_special_number_belongs_to_no_country_where_countries_share_a_code(
    number: str, country: str | None
) -> None:
    assert country_of(number) == country


@pytest.mark.parametrize("number", ["+19002345678", "+1911", "+19115550100", "+18005551234"])
def test_an_added_range_changes_nothing_that_is_known(number: str) -> None:
    policy = replace(POLICY, home_country="GB")
    before = _decide(number, policy)

    # Such a prefix is rejected when the process starts.
    policy = replace(policy, added_ranges=(NumberRange("+1900", "US"), NumberRange("+1911", "US")))

    assert not before.allowed
    assert _decide(number, policy) == before
