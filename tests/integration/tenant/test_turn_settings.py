"""The `turn` of AI profiles: its fields, its versions, and the carriers that lack a field."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.support.api import ApiResponse
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.settings import Settings
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.twilio.adapter import TwilioAdapter

DEFAULT_TURN: dict[str, Any] = {
    "end_ms": None,
    "interruptible": None,
    "greeting_interruptible": None,
    "interrupt_sensitivity": None,
    "ignore_backchannel": None,
    "turn_detection": None,
    "echo_filter": None,
    "languages": [],
}
# Telnyx has none of these.
TWILIO_ONLY: dict[str, Any] = {
    "end_ms": 1200,
    "interrupt_sensitivity": "low",
    "ignore_backchannel": True,
    "turn_detection": False,
    "echo_filter": True,
    "languages": [{"language": "es-ES", "voice": None}],
}


@pytest.fixture(autouse=True)
def carriers(app: Flask, settings: Settings) -> None:
    """Configure Twilio and Telnyx, without servers."""
    carriers = app_services().carriers
    for adapter_class in (TwilioAdapter, TelnyxAdapter):
        carriers.register(adapter_class.from_account(settings, None))


# --- Fields ---


def test_a_turn_is_stored_completely_and_each_change_is_a_version(acme: Tenant) -> None:
    profile = acme.profile(turn={"interruptible": "speech"})
    url = f"/ai-profiles/{profile['id']}"

    changed_profile = acme.patch(url, {"turn": TWILIO_ONLY}).json

    assert profile["turn"] == {**DEFAULT_TURN, "interruptible": "speech"}
    assert changed_profile["turn"] == {**DEFAULT_TURN, **TWILIO_ONLY}
    assert acme.get(url).json["turn"] == changed_profile["turn"]
    versions = acme.get(f"{url}/versions").json
    assert [version["turn"] for version in versions] == [changed_profile["turn"], profile["turn"]]


def test_a_profile_without_a_turn_has_an_empty_one(acme: Tenant) -> None:
    assert acme.profile()["turn"] == {}


@pytest.mark.parametrize(
    ("turn", "pointer"),
    [
        ({"end_ms": 599}, "/turn/end_ms"),
        ({"end_ms": 5_001}, "/turn/end_ms"),
        ({"end_ms": "1200"}, "/turn/end_ms"),
        ({"end_ms": 1200.5}, "/turn/end_ms"),
        ({"interruptible": "keys"}, "/turn/interruptible"),
        ({"interruptible": True}, "/turn/interruptible"),
        ({"greeting_interruptible": ""}, "/turn/greeting_interruptible"),
        ({"interrupt_sensitivity": "highest"}, "/turn/interrupt_sensitivity"),
        ({"ignore_backchannel": "true"}, "/turn/ignore_backchannel"),
        ({"turn_detection": 1}, "/turn/turn_detection"),
        ({"echo_filter": "yes"}, "/turn/echo_filter"),
        ({"languages": None}, "/turn/languages"),
        ({"languages": ["es-ES"]}, "/turn/languages/0"),
        ({"languages": [{"voice": "Polly.Lucia"}]}, "/turn/languages/0/language"),
        ({"languages": [{"language": "Spanish!"}]}, "/turn/languages/0/language"),
        ({"languages": [{"language": "es", "voice": ""}]}, "/turn/languages/0/voice"),
        ({"languages": [{"language": "es"}, {"language": "ES"}]}, "/turn/languages"),
        ({"languages": [{"language": f"es-{n:02}"} for n in range(11)]}, "/turn/languages"),
        ({"endMs": 1200}, "/turn/endMs"),
        ([], "/turn"),
        (None, "/turn"),
    ],
)
def test_an_invalid_turn_is_rejected_with_a_pointer(acme: Tenant, turn: Any, pointer: str) -> None:
    response = acme.post("/ai-profiles", {"system_prompt": "x", "turn": turn})

    assert response.status_code == 400
    pointers = [error["pointer"] for error in response.json["errors"]]
    assert any(item.startswith(pointer) for item in pointers), pointers


# --- Carriers that lack a field ---


def _is_refused(response: ApiResponse, *field_names: str) -> None:
    assert (response.status_code, response.json["code"]) == (409, "carrier-cannot")
    assert "telnyx" in response.json["detail"]
    assert all(f"turn.{name}" in response.json["detail"] for name in field_names)


@pytest.mark.parametrize("name", TWILIO_ONLY)
def test_a_field_that_telnyx_lacks_is_refused_for_its_number(acme: Tenant, name: str) -> None:
    profile = acme.profile(is_default=False, turn={name: TWILIO_ONLY[name]})
    acme.profile(is_default=True)
    telnyx_number = acme.number(provider_type="telnyx")
    twilio_number = acme.number(provider_type="twilio")
    fields = {"ai_profile_id": profile["id"]}

    _is_refused(acme.patch(f"/phone-numbers/{telnyx_number['id']}", fields), name)
    assert acme.patch(f"/phone-numbers/{twilio_number['id']}", fields).status_code == 200
    assert acme.get(f"/phone-numbers/{telnyx_number['id']}").json["ai_profile_id"] is None


def test_all_fields_that_a_carrier_lacks_are_named(acme: Tenant) -> None:
    acme.profile(turn=TWILIO_ONLY)

    response = acme.post(
        "/phone-numbers", {"did_number": "+14155550199", "provider_type": "telnyx"}
    )

    _is_refused(response, *TWILIO_ONLY)
    assert acme.get("/phone-numbers").json == []


@pytest.mark.parametrize(
    "turn",
    [
        {},
        {"end_ms": None, "languages": []},
        {"interruptible": "none", "greeting_interruptible": "any"},
    ],
)
def test_fields_that_telnyx_has_and_unset_fields_are_accepted(
    acme: Tenant, turn: dict[str, Any]
) -> None:
    acme.profile(turn=turn)

    assert acme.number(provider_type="telnyx")["provider_type"] == "telnyx"


def _create_number_of_default_profile(acme: Tenant) -> ApiResponse:
    acme.profile(turn={"end_ms": 900})
    return acme.post("/phone-numbers", {"did_number": "+14155550199", "provider_type": "telnyx"})


def _create_number_with_profile(acme: Tenant) -> ApiResponse:
    acme.profile()
    profile = acme.profile(turn={"end_ms": 900})
    return acme.post(
        "/phone-numbers",
        {
            "did_number": "+14155550199",
            "provider_type": "telnyx",
            "ai_profile_id": profile["id"],
        },
    )


def _move_number(acme: Tenant) -> ApiResponse:
    acme.profile(turn={"end_ms": 900})
    number = acme.number(provider_type="twilio")
    return acme.patch(f"/phone-numbers/{number['id']}", {"provider_type": "telnyx"})


def _remove_profile_of_number(acme: Tenant) -> ApiResponse:
    acme.profile(turn={"end_ms": 900})
    profile = acme.profile()
    number = acme.number(provider_type="telnyx", ai_profile_id=profile["id"])
    return acme.patch(f"/phone-numbers/{number['id']}", {"ai_profile_id": None})


def _change_default_profile(acme: Tenant) -> ApiResponse:
    profile = acme.profile()
    acme.number(provider_type="telnyx")
    return acme.patch(f"/ai-profiles/{profile['id']}", {"turn": {"end_ms": 900}})


def _change_profile_of_number(acme: Tenant) -> ApiResponse:
    acme.profile()
    profile = acme.profile()
    acme.number(provider_type="telnyx", ai_profile_id=profile["id"])
    return acme.patch(f"/ai-profiles/{profile['id']}", {"turn": {"end_ms": 900}})


def _make_profile_the_default(acme: Tenant) -> ApiResponse:
    acme.profile()
    profile = acme.profile(turn={"end_ms": 900})
    acme.number(provider_type="telnyx")
    return acme.patch(f"/ai-profiles/{profile['id']}", {"is_default": True})


def _create_default_profile(acme: Tenant) -> ApiResponse:
    acme.profile()
    acme.number(provider_type="telnyx")
    body = {"system_prompt": "x", "is_default": True, "turn": {"end_ms": 900}}
    return acme.post("/ai-profiles", body)


def _create_first_profile(acme: Tenant) -> ApiResponse:
    acme.number(provider_type="telnyx")
    return acme.post("/ai-profiles", {"system_prompt": "x", "turn": {"end_ms": 900}})


@pytest.mark.parametrize(
    "combine",
    [
        _create_number_of_default_profile,
        _create_number_with_profile,
        _move_number,
        _remove_profile_of_number,
        _change_default_profile,
        _change_profile_of_number,
        _make_profile_the_default,
        _create_default_profile,
        _create_first_profile,
    ],
)
def test_wherever_a_profile_meets_a_number_the_carrier_is_checked(
    acme: Tenant, combine: Callable[[Tenant], ApiResponse]
) -> None:
    response = combine(acme)

    _is_refused(response, "end_ms")


def test_a_profile_of_no_telnyx_number_may_have_every_field(acme: Tenant, globex: Tenant) -> None:
    globex.profile()
    globex.number(provider_type="telnyx")
    acme.profile()
    other_profile = acme.profile()
    acme.number(provider_type="telnyx")
    acme.number(provider_type="twilio", ai_profile_id=other_profile["id"])

    response = acme.patch(f"/ai-profiles/{other_profile['id']}", {"turn": TWILIO_ONLY})

    assert response.status_code == 200
