"""States of Telnyx's legs that we have not made for the leg: nothing is sent, nothing written.

A browser can choose the `client_state` of the call that it places, so an event with the account's
signature may have any.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.accounts import STATE_SIGNER
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.carrier_client import TelnyxCarrierClient, command_names
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.telnyx.conftest import SIGNER
from tests.support import previous_release
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant, fresh_number
from vca.telephony.providers.telnyx import client_state
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.state_signature import StateSigner

PREMIUM_NUMBER = "+19005551234"
OTHER_DEPLOYMENT = StateSigner("the secret of another deployment, which is long")


@pytest.fixture
def victim(carrier_client: TelnyxCarrierClient, number: str) -> Leg:
    """Return a live call of acme that listens to its caller."""
    return carrier_client.ring(number)


@pytest.fixture
def nothing_happens(
    carrier_client: TelnyxCarrierClient,
    victim: Leg,
    acme: Tenant,
    globex: Tenant,
    database_url: str,
) -> Iterator[None]:
    """Fail if the test sends a command or writes to a tenant."""
    checker = SnapshotChecker(database_url)

    def read() -> Any:
        commands = {leg.id: len(leg.commands) for leg in carrier_client.switch.legs.values()}
        return commands, [checker.checksum(tenant.id) for tenant in (acme, globex)]

    before = read()
    yield
    assert read() == before
    checker.close()


def _state_of(leg: Leg) -> LegState:
    state = client_state.decode_signed(leg.client_state, STATE_SIGNER)
    assert state is not None
    return state


def _send(
    carrier_client: TelnyxCarrierClient, event_type: str, encoded_state: str, **fields: Any
) -> None:
    """Send an event of a leg that an attacker controls, signed by the account."""
    event = accounts.leg_event(event_type, **{"call_id": "v3:attacker", **fields})
    event["data"]["payload"]["client_state"] = encoded_state
    carrier_client.deliver_event(event)


Forge = Callable[[LegState], str]
FORGERIES: dict[str, tuple[str, Forge, dict[str, Any]]] = {
    "hang up the victim": (
        "call.hangup",
        lambda victim: previous_release.encode(LegState("target", None, victim.call)),
        {"hangup_cause": "user_busy"},
    ),
    "transfer the victim to a premium number": (
        "call.speak.ended",
        lambda victim: previous_release.encode(_transfer(victim, call=victim.call)),
        {"status": "completed"},
    ),
    "transfer itself to a premium number": (
        "call.speak.ended",
        lambda victim: previous_release.encode(_transfer(victim, call="v3:attacker")),
        {"status": "completed"},
    ),
    "another deployment": (
        "call.speak.ended",
        lambda victim: _transfer(victim, call="v3:attacker").encode(OTHER_DEPLOYMENT),
        {"status": "completed"},
    ),
    "speak for the victim": (
        "call.transcription",
        lambda victim: previous_release.encode(victim),
        {"transcription_data": {"transcript": "Goodbye", "is_final": True}},
    ),
    "the victim's state on another leg": (
        "call.transcription",
        lambda victim: victim.encode(STATE_SIGNER),
        {"transcription_data": {"transcript": "Goodbye", "is_final": True}},
    ),
    "the victim's state in an event without a call": (
        "call.recording.saved",
        lambda victim: victim.encode(STATE_SIGNER),
        {"recording_id": "another-recording"},
    ),
    "a target of the victim in another session": (
        "call.hangup",
        lambda victim: LegState("target", victim.state, victim.call, session=victim.session).encode(
            STATE_SIGNER
        ),
        {"hangup_cause": "user_busy"},
    ),
}


def _transfer(victim: LegState, *, call: str) -> LegState:
    command = {"command": "transfer", "to": PREMIUM_NUMBER}
    return LegState("then", victim.state, call, "+14155550102", rest=(command,), after="left")


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.usefixtures("nothing_happens")
def test_a_state_that_is_not_ours_for_the_leg_is_ignored(
    carrier_client: TelnyxCarrierClient, victim: Leg, name: str
) -> None:
    event_type, forge, fields = FORGERIES[name]

    _send(carrier_client, event_type, forge(_state_of(victim)), **fields)


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.usefixtures("nothing_happens")
def test_it_is_ignored_also_while_states_of_the_previous_release_are_accepted(
    carrier_client: TelnyxCarrierClient, victim: Leg, name: str
) -> None:
    event_type, forge, fields = FORGERIES[name]

    with previous_release.accept_unsigned_states():
        _send(carrier_client, event_type, forge(_state_of(victim)), **fields)


def test_a_call_cannot_dial_more_than_it_was_permitted_by_a_state_of_the_previous_release(
    carrier_client: TelnyxCarrierClient, victim: Leg
) -> None:
    token = previous_release.state_token(_state_of(victim).state or "")
    state = _transfer(LegState("listening", token, victim.id), call=victim.id)
    before = command_names(victim)

    with previous_release.accept_unsigned_states():
        _send(
            carrier_client,
            "call.speak.ended",
            previous_release.encode(state),
            call_id=victim.id,
            status="completed",
        )

    assert command_names(victim) == before


def test_a_state_of_another_tenants_call_is_ignored(
    carrier_client: TelnyxCarrierClient, victim: Leg, acme: Tenant, globex: Tenant
) -> None:
    globex.profile(greeting="Globex here.")
    globex_leg = carrier_client.ring(globex.number(provider_type="telnyx")["did_number"])
    before = command_names(victim), command_names(globex_leg)
    for leg, other_leg in ((victim, globex_leg), (globex_leg, victim)):
        _send(
            carrier_client,
            "call.gather.ended",
            other_leg.client_state or "",
            call_id=leg.id,
            status="valid",
            digits="1",
        )

    assert (command_names(victim), command_names(globex_leg)) == before
    for tenant in (acme, globex):
        [call] = tenant.get("/calls").json
        assert len(tenant.get(f"/calls/{call['id']}/turns").json) == 1


def test_a_hang_up_with_a_foreign_state_ends_the_call_that_has_hung_up(
    carrier_client: TelnyxCarrierClient, victim: Leg, call_record: CallRecord
) -> None:
    victim.client_state = previous_release.encode(LegState("target", None, "v3:another-call"))

    carrier_client.hang_up(victim)

    assert call_record.end_state == ("completed", "caller_hangup")


def test_the_state_of_a_placed_call_begins_no_second_call(
    carrier_client: TelnyxCarrierClient, acme: Tenant, world: Factory, number: str
) -> None:
    """That state names no leg, because Telnyx had not named it yet."""
    [phone_number] = acme.get("/phone-numbers").json
    body = {"to": fresh_number(), "from_phone_number_id": phone_number["id"]}
    call = acme.post("/calls", body).json
    world.run_jobs(acme)
    [leg] = carrier_client.switch.dialled.values()
    dial_state = leg.client_state or ""
    carrier_client.switch.answer_leg(leg)
    carrier_client.deliver_events()
    before = acme.get(f"/calls/{call['id']}").json

    answered = accounts.leg_event("call.answered", call_id="v3:attacker")
    answered["data"]["payload"]["client_state"] = dial_state
    response = carrier_client.send_request(SIGNER.request(answered))
    _send(carrier_client, "call.hangup", dial_state, hangup_cause="normal_clearing")

    assert response.status_code == 400
    assert acme.get(f"/calls/{call['id']}").json == before
    assert before["status"] == "in_progress"
    assert "v3:attacker" not in carrier_client.switch.legs
