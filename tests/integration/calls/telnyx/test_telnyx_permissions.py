"""Commands that Telnyx defers dial with a permission of 60 s; after that VCA checks again."""

import base64
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from tests.fakes.carriers.telnyx.accounts import create_adapter, leg_event
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.carrier_client import (
    TelnyxCarrierClient,
    command_names,
    spoken_texts,
)
from tests.fakes.carriers.telnyx.server import TelnyxServer
from tests.fakes.hostile_model import transfer
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.telnyx.conftest import SIGNER, ScriptModel
from tests.support import previous_release
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.kit import json
from vca.telephony import dial_permit
from vca.telephony.providers.telnyx.client_state import LegState

PREMIUM = "+19005551234"
Event = dict[str, Any]


@pytest.fixture
def transfer_caller(
    carrier_client: TelnyxCarrierClient, acme: Tenant, script_model: ScriptModel, sales_number: str
) -> Callable[[], Leg]:
    """Return a function that lets the agent speak and then transfer a new caller to sales."""
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=["transfer"], transfer_targets=targets)
    script_model(["I connect you.", transfer("sales")], ["At nine."])
    number = acme.number(provider_type="telnyx")["did_number"]

    def ring_and_ask() -> Leg:
        leg = carrier_client.ring(number)
        carrier_client.say(leg, "Sales, please.")
        return leg

    return ring_and_ask


def _before_speech_ends(client: TelnyxCarrierClient, act: Callable[[Event], None]) -> None:
    """Do something with each event that reports the end of speech before it is delivered."""

    def order_events(events: Sequence[Event]) -> Sequence[Event]:
        for event in events:
            if event["data"]["event_type"] == "call.speak.ended":
                act(event)
        return events

    client.order_events = order_events


def _freeze(app: Flask, tenant: Tenant) -> None:
    result = app.test_cli_runner().invoke(args=["dialling", "freeze", "--tenant", tenant.id])
    assert result.exit_code == 0, result.output


def _remove_permission(event: Event) -> None:
    """Change the leg's state to that of the previous release, whose commands have no permission."""
    payload = event["data"]["payload"]
    state = json.loads(base64.b64decode(previous_release.client_state_of(payload["client_state"])))
    for command in state.get("rest", ()):
        command.pop("command_id", None)
    payload["client_state"] = base64.b64encode(json.dumps(state)).decode()


@pytest.fixture
def unsigned_states() -> Iterator[None]:
    """Accept the states of calls that the previous release has begun."""
    with previous_release.accept_unsigned_states():
        yield


def _expire_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_permit, "TOKEN_TTL", timedelta(0))


def test_a_permission_of_a_minute_outlasts_the_speech(
    app: Flask,
    acme: Tenant,
    carrier_client: TelnyxCarrierClient,
    transfer_caller: Callable[[], Leg],
    sales_number: str,
) -> None:
    _before_speech_ends(carrier_client, lambda event: _freeze(app, acme))

    leg = transfer_caller()

    assert leg.target is not None
    assert leg.target.to == sales_number
    assert command_names(leg).count("transfer") == 1


def test_an_expired_permission_is_renewed(
    monkeypatch: pytest.MonkeyPatch, transfer_caller: Callable[[], Leg], sales_number: str
) -> None:
    _expire_permissions(monkeypatch)

    leg = transfer_caller()

    assert leg.target is not None
    assert leg.target.to == sales_number


def test_an_expired_permission_does_not_outlast_a_freeze(
    app: Flask,
    acme: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    transfer_caller: Callable[[], Leg],
) -> None:
    _expire_permissions(monkeypatch)
    _before_speech_ends(carrier_client, lambda event: _freeze(app, acme))

    leg = transfer_caller()

    assert "transfer" not in command_names(leg)
    assert call_record.end_state == ("in_progress", None)


@pytest.mark.usefixtures("unsigned_states")
def test_a_deferred_command_of_the_previous_release_is_checked_and_loses_no_call(
    carrier_client: TelnyxCarrierClient, transfer_caller: Callable[[], Leg], sales_number: str
) -> None:
    _before_speech_ends(carrier_client, _remove_permission)

    leg = transfer_caller()

    assert leg.target is not None
    assert leg.target.to == sales_number


@pytest.mark.usefixtures("unsigned_states")
def test_a_deferred_command_of_the_previous_release_does_not_outlast_a_freeze(
    app: Flask,
    acme: Tenant,
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    transfer_caller: Callable[[], Leg],
) -> None:
    def remove_and_freeze(event: Event) -> None:
        _remove_permission(event)
        _freeze(app, acme)

    _before_speech_ends(carrier_client, remove_and_freeze)

    leg = transfer_caller()

    assert "transfer" not in command_names(leg)
    assert call_record.end_state == ("in_progress", None)


@pytest.mark.parametrize("state", [None, "own call"])
def test_a_forged_client_state_dials_no_number(
    carrier_client: TelnyxCarrierClient, number: str, state: str | None
) -> None:
    """Nothing in a state that a browser may have chosen makes VCA command another call."""
    victim = carrier_client.ring(number)
    attacker = carrier_client.ring(number)
    token = LegState("then").state
    if state:
        encoded = attacker.client_state
        assert encoded is not None
        token = json.loads(base64.b64decode(encoded))["state"]
    commands_before = list(victim.commands)
    rest = ({"command": "transfer", "to": PREMIUM},)
    forged = LegState("then", token, victim.id, "+14155550102", rest=rest)
    event = leg_event(
        "call.speak.ended", call_id=attacker.id, mark=forged, to=number, status="completed"
    )

    response = carrier_client.send_request(SIGNER.request(event, url="/telephony/telnyx/events"))

    assert response.status_code in (200, 400, 403, 404), response.text
    assert victim.commands == commands_before
    assert victim.target is None
    assert attacker.target is None


# --- Browsers ---


@pytest.fixture
def browser(carrier_client: TelnyxCarrierClient, server: TelnyxServer) -> TelnyxCarrierClient:
    """Return a client whose calls come from a browser: parked, on the credential connection."""
    app_services().carriers.register(
        create_adapter(
            server, SIGNER, telnyx_credential_connection_id="777", telnyx_call_parking="on"
        )
    )

    def park(events: Sequence[Event]) -> Sequence[Event]:
        for event in events:
            payload = event["data"]["payload"]
            payload |= {"connection_id": "777", "direction": "outgoing", "state": "parked"}
        return events

    carrier_client.order_events = park
    return carrier_client


def test_a_browser_reaches_the_agent_of_the_number_that_it_dials(
    browser: TelnyxCarrierClient, call_record: CallRecord, number: str
) -> None:
    leg = browser.ring(number, from_="+14155550166")

    assert spoken_texts(leg) == ["Acme here."]
    assert call_record.call["direction"] == "inbound"
    assert (call_record.call["caller_number"], call_record.call["caller_id"]) == (None, "other")


def test_vca_dials_no_number_for_a_browser(browser: TelnyxCarrierClient, number: str) -> None:
    leg = browser.ring(PREMIUM, from_=number)

    assert command_names(leg) == ["reject"]
    assert leg.target is None
    assert browser.switch.dialled == {}
