"""Where numbers that will be dialled are saved: only numbers that may be dialled are accepted."""

from itertools import count, product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from tests.support.factories import Platform, Tenant, assert_created, fresh_number
from tests.support.services import add_number_ranges, app_services
from vca.kit.errors import InvalidInput
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles import service as ai_profiles
from vca.tenant.calls.core import outbound_legs
from vca.tenant.phone_numbers import service as phone_numbers
from vca.tenant.settings import service as settings_service
from vca.tenant.settings.dialling import DiallingRefused, country_of
from vca.tenant.settings.service import HomeCountryNeeded

LONDON, NEW_YORK = "+442071234567", "+12125550123"


@pytest.mark.parametrize("field", ["forward_to", "fallback_number"])
@pytest.mark.parametrize(
    ("number", "reason"),
    [("+449098790123", "number_type"), (NEW_YORK, "country"), ("+448001111111", None)],
)
def test_a_number_that_may_not_be_dialled_is_not_stored(
    acme: Tenant, field: str, number: str, reason: str | None
) -> None:
    path = f"/phone-numbers/{acme.number()['id']}"

    changed = acme.patch(path, {field: number})
    added = acme.post("/phone-numbers", {"did_number": fresh_number(), field: number})

    for response, success_status in ((changed, 200), (added, 201)):
        if reason is None:
            assert response.status_code == success_status
        else:
            assert response.status_code == 400
            assert response.json["errors"][0]["pointer"] == f"/{field}"
            assert reason in response.json["errors"][0]["detail"]
    assert acme.get(path).json[field] == (number if reason is None else None)


def test_a_dial_policy_determines_the_countries_of_stored_numbers(acme: Tenant) -> None:
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})

    assert acme.number(forward_to=NEW_YORK)["forward_to"] == NEW_YORK
    response = acme.post("/phone-numbers", {"did_number": fresh_number(), "forward_to": LONDON})
    assert "country" in response.json["errors"][0]["detail"]


def test_a_narrower_policy_does_not_block_other_changes(acme: Tenant) -> None:
    number = acme.number(fallback_number=fresh_number())
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})

    response = acme.patch(f"/phone-numbers/{number['id']}", {"label": "Front desk"})

    assert response.status_code == 200


def test_a_number_forwards_to_other_tenants_but_not_to_its_own_tenant(
    acme: Tenant, globex: Tenant
) -> None:
    own_number, foreign_number = acme.number()["did_number"], globex.number()["did_number"]
    path = f"/phone-numbers/{acme.number()['id']}"

    rejected_response = acme.patch(path, {"forward_to": own_number})

    assert rejected_response.json["errors"][0]["pointer"] == "/forward_to"
    assert "own_number" in rejected_response.json["errors"][0]["detail"]
    assert acme.patch(path, {"forward_to": foreign_number}).status_code == 200


def test_transfer_targets_are_checked_against_the_numbers_of_the_profile(acme: Tenant) -> None:
    own_number = acme.number()["did_number"]
    targets = {
        "abroad": {"number": NEW_YORK},
        "hot/line": {"number": "+449098790123"},
    }
    profile_fields = {"system_prompt": "You answer."}

    name_response = acme.post("/ai-profiles", {**profile_fields, "transfer_targets": targets})
    targets["hot line"] = targets.pop("hot/line")
    targets["loop"] = {"number": own_number}
    create_response = acme.post("/ai-profiles", {**profile_fields, "transfer_targets": targets})
    profile = acme.profile(transfer_targets={"home": {"number": LONDON}})
    update_response = acme.patch(f"/ai-profiles/{profile['id']}", {"transfer_targets": targets})

    assert name_response.status_code == 400
    for response in (create_response, update_response):
        assert response.status_code == 400
        reasons = {"abroad": "country", "hot line": "number_type", "loop": "own_number"}
        details = {error["pointer"]: error["detail"] for error in response.json["errors"]}
        assert set(details) == {f"/transfer_targets/{name}/number" for name in reasons}
        for name, reason in reasons.items():
            assert reason in details[f"/transfer_targets/{name}/number"]
    assert acme.get(f"/ai-profiles/{profile['id']}").json["version"] == 1


def test_a_profile_that_answers_no_number_may_have_targets_in_any_country(acme: Tenant) -> None:
    acme.profile()
    acme.number()

    unused = acme.profile(transfer_targets={"abroad": {"number": NEW_YORK}})

    assert unused["transfer_targets"]["abroad"]["number"] == NEW_YORK


@pytest.mark.parametrize("way", ["assigned", "claimed", "default", "made default"])
def test_a_number_gets_only_a_profile_whose_targets_it_may_dial(acme: Tenant, way: str) -> None:
    main = acme.profile()
    profile = acme.profile(transfer_targets={"new york": {"number": NEW_YORK}})
    path, change = f"/ai-profiles/{profile['id']}", {"is_default": True}
    if way == "default":
        assert acme.patch(path, change).status_code == 200
        response = acme.post("/phone-numbers", {"did_number": fresh_number()})
    elif way == "claimed":
        body = {"did_number": fresh_number(), "ai_profile_id": profile["id"]}
        response = acme.post("/phone-numbers", body)
    elif way == "assigned":
        number = acme.number(ai_profile_id=main["id"])
        response = acme.patch(
            f"/phone-numbers/{number['id']}", {"ai_profile_id": profile["id"], "label": "x"}
        )
    else:
        acme.number()
        response = acme.patch(path, change)

    assert response.status_code == 400
    [error] = response.json["errors"]
    assert error["pointer"] == ("/is_default" if way == "made default" else "/ai_profile_id")
    assert "`new york` cannot be dialled" in error["detail"]
    assert "(country)" in error["detail"]


def test_a_number_that_loses_its_profile_must_be_able_to_dial_those_of_the_default(
    acme: Tenant,
) -> None:
    acme.profile(transfer_targets={"new york": {"number": NEW_YORK}})
    other = acme.profile()
    path = f"/phone-numbers/{acme.number(ai_profile_id=other['id'])['id']}"

    assert acme.patch(path, {"ai_profile_id": None}).status_code == 400
    acme.patch("/settings", {"dial_policy": {"countries": ["US"]}})
    assert acme.patch(path, {"ai_profile_id": None}).status_code == 200


def test_an_outbound_call_gets_only_a_profile_whose_targets_its_number_may_dial(
    acme: Tenant,
) -> None:
    acme.profile()
    profile = acme.profile(transfer_targets={"new york": {"number": NEW_YORK}})
    number_id = acme.number()["id"]
    call = {"to": LONDON, "from_phone_number_id": number_id, "ai_profile_id": profile["id"]}

    response = acme.post("/calls", call)

    assert response.status_code == 400
    [error] = response.json["errors"]
    assert error["pointer"] == "/ai_profile_id"
    assert "`new york` cannot be dialled" in error["detail"]
    assert acme.get("/calls").json == []
    acme.patch("/settings", {"dial_policy": {"countries": ["GB", "US"]}})
    assert acme.post("/calls", call).status_code == 202


def test_a_call_from_a_freephone_number_needs_countries_for_the_targets_of_its_profile(
    acme: Tenant, platform: Platform
) -> None:
    acme.profile()
    profile = acme.profile(transfer_targets={"desk": {"number": TORONTO}})
    number = _claim(platform, acme, _fresh("+1844555"))
    call = {"to": TORONTO, "from_phone_number_id": number["id"], "ai_profile_id": profile["id"]}

    response = acme.post("/calls", call)

    assert (response.status_code, response.json["code"]) == (409, "home-country-needed")


def test_a_home_country_restricts_transfer_targets(acme: Tenant, platform: Platform) -> None:
    acme.patch("/settings", {"home_country": "GB"})

    response = acme.post(
        "/ai-profiles",
        {"system_prompt": "You answer.", "transfer_targets": {"desk": {"number": NEW_YORK}}},
    )

    assert "country" in response.json["errors"][0]["detail"]


# --- Numbers that belong to no country ---------------------------------------------------------

_suffixes = count(1_000)
TORONTO, KINGSTON = "+14165550123", "+18765230123"


def _fresh(prefix: str) -> str:
    return f"{prefix}{next(_suffixes)}"


def _claim(platform: Platform, tenant: Tenant, number: str, **fields: object) -> dict[str, Any]:
    body = {"did_number": number, **fields}
    return assert_created(platform.api.post(tenant.url("/phone-numbers"), body))


def test_a_freephone_number_dials_as_the_geographic_numbers_of_its_tenant(
    acme: Tenant, platform: Platform
) -> None:
    _claim(platform, acme, _fresh("+1416555"))
    freephone = f"/phone-numbers/{_claim(platform, acme, _fresh('+1844555'))['id']}"

    toronto_response = acme.patch(freephone, {"forward_to": TORONTO})
    new_york_response = acme.patch(freephone, {"forward_to": NEW_YORK})

    assert toronto_response.status_code == 200
    assert "allowed: CA" in new_york_response.json["errors"][0]["detail"]


@pytest.mark.parametrize(
    "change", [{"home_country": "CA"}, {"dial_policy": {"countries": ["CA"]}}], ids=str
)
def test_a_freephone_number_needs_a_home_country_or_countries_to_dial(
    acme: Tenant, platform: Platform, change: dict[str, Any]
) -> None:
    number = _claim(platform, acme, _fresh("+1844555"))
    path = f"/phone-numbers/{number['id']}"
    targets = {"system_prompt": "You answer.", "transfer_targets": {"desk": {"number": TORONTO}}}
    call = {"to": TORONTO, "from_phone_number_id": number["id"]}

    def save_everywhere() -> list[tuple[int, str | None]]:
        responses = [
            acme.patch(path, {"forward_to": TORONTO}),
            acme.patch(path, {"fallback_number": TORONTO}),
            acme.post("/ai-profiles", {**targets, "is_default": True}),
            acme.post("/calls", call),
        ]
        return [(response.status_code, response.json.get("code")) for response in responses]

    acme.profile()
    assert save_everywhere() == [(409, "home-country-needed")] * 4
    assert "set `home_country`" in acme.post("/calls", call).json["detail"]
    unused = acme.profile(transfer_targets={"desk": {"number": TORONTO}})
    assigned = acme.patch(path, {"ai_profile_id": unused["id"]})
    assert (assigned.status_code, assigned.json["code"]) == (409, "home-country-needed")

    acme.patch("/settings", change)

    assert save_everywhere() == [(200, None), (200, None), (201, None), (202, None)]
    assert acme.patch(path, {"forward_to": NEW_YORK}).status_code == 400


def test_an_undiallable_target_is_refused_without_a_home_country(
    acme: Tenant, platform: Platform
) -> None:
    path = f"/phone-numbers/{_claim(platform, acme, _fresh('+1844555'))['id']}"

    for number in ("+19002345678", "+80012345678"):
        response = acme.patch(path, {"forward_to": number})
        assert "number_type" in response.json["errors"][0]["detail"]


# The tenant's numbers: the first one dials, the others only exist.
_OWN_NUMBERS = {
    "geographic": ("+1212555",),
    "freephone": ("+1844555",),
    "freephone with one country": ("+1844555", "+1416555"),
    "freephone with two countries": ("+1844555", "+1416555", "+44207951"),
    "British freephone": ("+44808157", "+44207951"),
    "of an added range": ("+1924555",),
    "unknown": ("+1837555",),
    "international freephone": ("+8001234",),
}
_WITHOUT_COUNTRY = ("freephone", "unknown", "international freephone")
_TARGETS = (
    "+12125550199",
    "+14165550199",
    "+442071234567",
    "+18005551234",
    "+448001111111",
    "+19002345678",
    "+19245550123",
)
_HOMES_AND_COUNTRIES: tuple[tuple[str | None, list[str] | None], ...] = (
    (None, None),
    (None, []),
    (None, ["US", "CA"]),
    ("US", None),
    ("GB", None),
    ("GB", ["US", "CA"]),
)


@pytest.mark.parametrize("kind", _OWN_NUMBERS)
def test_a_number_that_can_be_saved_can_be_dialled(
    acme: Tenant, platform: Platform, kind: str
) -> None:
    add_number_ranges("+1924=US")
    other_profile, profile = acme.profile(), acme.profile()
    dialling_number, *other_numbers = _OWN_NUMBERS[kind]
    number = _claim(platform, acme, _fresh(dialling_number), ai_profile_id=profile["id"])
    for prefix in other_numbers:
        _claim(platform, acme, _fresh(prefix), ai_profile_id=other_profile["id"])
    outcomes = set()

    for (home, countries), target in product(_HOMES_AND_COUNTRIES, _TARGETS):
        case = (home, countries, target)
        with tenant_session(acme.ref, database=app_services().database) as session:
            dial_policy = {"countries": countries}
            settings_service.change(
                session, home_country=home, dial_policy=dial_policy, services=app_services()
            )
            refusal = _refusal_to_dial(session, target, from_number=number["did_number"])
            for place in ("forward_to", "fallback_number", "transfer_targets", "ai_profile_id"):
                assert _refusal_to_save(session, place, target, number, profile) == refusal, case
            session.rollback()
        outcomes.add(refusal)

    assert {None, "number_type", "country"} <= outcomes
    assert ("home_country_needed" in outcomes) is (kind in _WITHOUT_COUNTRY)


def _refusal_to_dial(session: Session, target: str, *, from_number: str) -> str | None:
    """Return why a leg would be denied, or None."""
    try:
        with session.begin_nested():
            outbound_legs.authorise_leg(
                session,
                target,
                kind="transfer",
                call_id=None,
                from_number=from_number,
                services=app_services(),
            )
    except DiallingRefused as error:
        return error.reason
    return None


def _refusal_to_save(
    session: Session, place: str, target: str, number: dict[str, Any], profile: dict[str, Any]
) -> str | None:
    """Return why a target would be rejected at a place where it is saved, or None."""
    number_id, profile_id = UUID(number["id"]), UUID(profile["id"])
    targets = {"desk": {"number": target, "description": ""}}
    try:
        with session.begin_nested():
            if place == "transfer_targets":
                ai_profiles.change(
                    session,
                    ai_profile_id=profile_id,
                    transfer_targets=targets,
                    services=app_services(),
                )
            elif place == "ai_profile_id":
                unused = ai_profiles.create(
                    session, system_prompt="You answer.", name="x", services=app_services()
                )
                unused.transfer_targets = targets
                phone_numbers.change(
                    session,
                    phone_number_id=number_id,
                    ai_profile_id=unused.id,
                    services=app_services(),
                )
            else:
                changes: dict[str, Any] = {place: target}
                phone_numbers.change(
                    session, phone_number_id=number_id, **changes, services=app_services()
                )
    except HomeCountryNeeded:
        return "home_country_needed"
    except InvalidInput as error:
        return error.errors[0].detail.rpartition("(")[2].rstrip(").")
    return None


def test_numbers_of_an_added_range_are_claimed_and_dialled_as_lines_of_their_country(
    acme: Tenant, globex: Tenant
) -> None:
    number = _fresh("+1924555")
    rejected_response = acme.post("/phone-numbers", {"did_number": number})

    add_number_ranges("+1924=US")

    assert rejected_response.status_code == 400
    assert acme.number(did_number=number)["did_number"] == number
    assert country_of(number, app_services().settings.diallable_prefixes) == "US"
    assert acme.patch("/settings", {"home_country": "US"}).status_code == 200
    assert acme.number(forward_to="+19245550199")["forward_to"] == "+19245550199"
    globex.patch("/settings", {"home_country": "GB"})
    response = globex.post(
        "/phone-numbers", {"did_number": fresh_number(), "forward_to": "+19245550199"}
    )
    assert "(country)" in response.json["errors"][0]["detail"]
