"""Changes that allow a tenant to dial or spend more need `admin`; the platform sets a ceiling."""

from typing import Any

import pytest

from tests.support.api import Api, ApiResponse
from tests.support.factories import Factory, Platform, Tenant, fresh_number

WRITE = ["read", "write"]
US_NUMBER = "+14155550100"


@pytest.fixture
def write_key(world: Factory, acme: Tenant) -> Api:
    """Return a client whose key may write but has no scope admin."""
    acme.profile()
    acme.number()  # a British number
    return world.api(world.key(acme.id, scopes=WRITE))


def _patch(api: Api, tenant: Tenant, **changes: Any) -> ApiResponse:
    return api.patch(tenant.url("/settings"), changes)


def _pointers(response: ApiResponse) -> list[str]:
    return [error["pointer"] for error in response.json["errors"]]


@pytest.mark.parametrize(
    ("before", "change", "pointers"),
    [
        ({}, {"dial_policy": {"countries": ["SO", "CU"]}}, ["/dial_policy/countries"]),
        ({}, {"dial_policy": {"countries": ["GB", "US"]}}, ["/dial_policy/countries"]),
        (
            {"dial_policy": {"countries": []}},
            {"dial_policy": {"countries": ["GB"]}},
            ["/dial_policy/countries"],
        ),
        (
            {"dial_policy": {"countries": ["US"]}},
            {"dial_policy": {"countries": None}},
            ["/dial_policy/countries"],
        ),
        ({}, {"dial_policy": {"per_minute": 11}}, ["/dial_policy/per_minute"]),
        ({}, {"dial_policy": {"per_day": 100_000}}, ["/dial_policy/per_day"]),
        (
            {"dial_policy": {"per_minute": 5, "per_day": 5}},
            {"dial_policy": {"per_minute": None, "per_day": None}},
            ["/dial_policy/per_minute", "/dial_policy/per_day"],
        ),
        ({}, {"home_country": "SO"}, ["/home_country"]),
        ({"home_country": "US"}, {"home_country": None}, ["/home_country"]),
        # Freephone numbers of the home country may be dialled.
        ({"dial_policy": {"countries": ["GB", "US"]}}, {"home_country": "US"}, ["/home_country"]),
        ({"spend_cap": 100}, {"spend_cap": 101}, ["/spend_cap"]),
        ({"spend_cap": 100}, {"spend_cap": None}, ["/spend_cap"]),
        (
            {"spend_cap": 100},
            {"spend_cap": None, "time_zone": "UTC", "dial_policy": {"per_day": 201}},
            ["/dial_policy/per_day", "/spend_cap"],
        ),
    ],
)
def test_a_widening_needs_admin_and_names_each_field(
    acme: Tenant,
    write_key: Api,
    before: dict[str, Any],
    change: dict[str, Any],
    pointers: list[str],
) -> None:
    assert _patch(acme.api, acme, **before).status_code == 200
    settings = acme.get("/settings").json

    response = _patch(write_key, acme, **change)

    assert (response.status_code, response.json["code"]) == (403, "scope-missing")
    assert _pointers(response) == pointers
    assert acme.get("/settings").json == settings
    assert _patch(acme.api, acme, **change).status_code == 200


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({}, {"dial_policy": {"countries": ["GB"]}}),
        ({}, {"dial_policy": {"countries": []}}),
        ({"dial_policy": {"countries": ["GB", "US"]}}, {"dial_policy": {"countries": ["US"]}}),
        ({"dial_policy": {"countries": ["GB"]}}, {"dial_policy": {"countries": None}}),
        ({}, {"dial_policy": {"per_minute": 10, "per_day": 1}}),
        ({"dial_policy": {"per_minute": 20}}, {"dial_policy": {"per_minute": None}}),
        ({}, {"home_country": "GB"}),
        ({}, {"spend_cap": 5}),
        ({"spend_cap": 100}, {"spend_cap": 99}),
        ({"spend_cap": 100, "dial_policy": {"countries": ["SO"]}}, {"time_zone": "Asia/Tokyo"}),
    ],
)
def test_a_change_that_allows_no_more_needs_no_admin(
    acme: Tenant, write_key: Api, before: dict[str, Any], change: dict[str, Any]
) -> None:
    _patch(acme.api, acme, **before)

    response = _patch(write_key, acme, **change)

    assert response.status_code == 200, response.text


def test_settings_that_are_sent_back_unchanged_need_no_admin(acme: Tenant, write_key: Api) -> None:
    policy = {"countries": ["SO"], "per_minute": 900, "per_day": 900}
    _patch(acme.api, acme, dial_policy=policy, spend_cap=7, home_country="US")
    settings = write_key.get(acme.url("/settings")).json
    names = ("dial_policy", "spend_cap", "home_country")

    response = _patch(write_key, acme, **{name: settings[name] for name in names})

    assert response.status_code == 200, response.text


def test_a_tenant_without_numbers_may_not_choose_a_country_by_write(
    world: Factory, acme: Tenant
) -> None:
    api = world.api(world.key(acme.id, scopes=WRITE))

    assert _pointers(_patch(api, acme, home_country="SO")) == ["/home_country"]


def test_a_platform_key_needs_the_scope_too(world: Factory, acme: Tenant) -> None:
    api = world.api(world.key(None, scopes=WRITE))

    assert _patch(api, acme, dial_policy={"per_day": 500}).status_code == 403


def test_a_value_above_the_ceiling_is_a_widening_too(
    acme: Tenant, write_key: Api, platform: Platform
) -> None:
    ceiling = {"countries": ["GB"], "per_minute": 3, "per_day": 3}
    _patch(platform.api, acme, limits={"dialling": ceiling})

    response = _patch(write_key, acme, dial_policy={"countries": ["GB", "SO"], "per_minute": 4})

    assert _pointers(response) == ["/dial_policy/countries", "/dial_policy/per_minute"]


def test_a_country_that_only_the_ceiling_withholds_is_a_widening(
    acme: Tenant, write_key: Api, platform: Platform
) -> None:
    _patch(acme.api, acme, dial_policy={"countries": ["GB", "SO"]})
    _patch(platform.api, acme, limits={"dialling": {"countries": ["GB"]}})

    response = _patch(write_key, acme, dial_policy={"countries": ["SO"]})

    assert _pointers(response) == ["/dial_policy/countries"]


def test_a_widening_is_marked_in_the_audit_log(acme: Tenant, write_key: Api) -> None:
    _patch(acme.api, acme, dial_policy={"countries": ["GB", "SO"]}, spend_cap=5)
    _patch(write_key, acme, dial_policy={"countries": ["GB"]})

    narrowing, widening = acme.get("/audit", limit=2).json
    assert "widened" not in narrowing["changes"]
    assert widening["changes"]["widened"]["to"] == ["/dial_policy/countries"]
    assert widening["changes"]["dial_policy"]["to"] == {"countries": ["GB", "SO"]}


# --- The platform's ceiling ---


def test_only_platform_keys_set_the_ceiling_and_omitted_entries_keep_their_values(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    response = _patch(acme.api, acme, limits={"dialling": {"per_day": 1}})
    _patch(platform.api, acme, limits={"dialling": {"countries": ["US"], "per_day": 9}})
    second = _patch(platform.api, acme, limits={"dialling": {"per_minute": 2, "per_day": None}})

    assert (response.status_code, response.json["code"]) == (
        403,
        "platform-key-needed",
    )
    expected = {"countries": ["US"], "per_minute": 2, "per_day": None}
    assert second.json["limits"]["dialling"] == expected
    assert acme.get("/settings").json["limits"]["dialling"] == expected
    no_ceiling = {"countries": None, "per_minute": None, "per_day": None}
    assert globex.get("/settings").json["limits"]["dialling"] == no_ceiling
    removed = _patch(platform.api, acme, limits={"dialling": None})
    assert removed.json["limits"]["dialling"] == no_ceiling


@pytest.mark.parametrize(
    "dialling",
    [
        {"countries": ["Atlantis"]},
        {"countries": "US"},
        {"per_minute": 0},
        {"per_day": 1.5},
        {"per_hour": 1},
        [],
    ],
)
def test_an_invalid_ceiling_is_rejected(acme: Tenant, platform: Platform, dialling: object) -> None:
    assert _patch(platform.api, acme, limits={"dialling": dialling}).status_code == 400


@pytest.mark.parametrize(
    ("dialling", "reason"),
    [({"countries": ["US"]}, "country"), ({"countries": []}, "country")],
)
def test_the_narrower_of_policy_and_ceiling_decides(
    acme: Tenant, platform: Platform, dialling: dict[str, Any], reason: str
) -> None:
    acme.profile()
    number = acme.number()
    _patch(acme.api, acme, dial_policy={"countries": ["GB", "US"], "per_minute": 1_000})
    _patch(platform.api, acme, limits={"dialling": dialling})

    body = {"to": fresh_number(), "from_phone_number_id": number["id"]}
    response = acme.post("/calls", body)

    assert (response.status_code, response.json["code"]) == (409, "dialling-refused")
    assert f"({reason})" in response.json["detail"]


def test_the_ceiling_of_the_frequency_applies(acme: Tenant, platform: Platform) -> None:
    acme.profile()
    number = acme.number()
    _patch(acme.api, acme, dial_policy={"per_minute": 1_000})
    _patch(platform.api, acme, limits={"dialling": {"per_minute": 1}})
    bodies = [{"to": fresh_number(), "from_phone_number_id": number["id"]} for _ in range(2)]

    responses = [acme.post("/calls", body) for body in bodies]

    assert [response.status_code for response in responses] == [202, 409]
    assert "(per_minute)" in responses[1].json["detail"]


def test_numbers_outside_the_ceiling_cannot_be_stored_as_targets(
    acme: Tenant, platform: Platform
) -> None:
    _patch(platform.api, acme, limits={"dialling": {"countries": ["US"]}})

    response = acme.post(
        "/phone-numbers",
        {"did_number": fresh_number(), "provider_type": "generic", "forward_to": fresh_number()},
    )

    assert response.status_code in (400, 409), response.text
