"""Rejected commands, and repeated, reordered and forged events of Telnyx."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.accounts import CALLER
from tests.fakes.carriers.telnyx.carrier_client import TelnyxCarrierClient, spoken_texts
from tests.fakes.carriers.telnyx.server import Fault, TelnyxServer
from tests.fakes.carriers.telnyx.signing import Signer
from tests.fakes.hostile_model import transfer
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.telnyx.conftest import SIGNER, ScriptModel, list_event_types
from tests.support.factories import Tenant
from vca.telephony.providers.telnyx.client_state import LegState

# --- Repeated and reordered events ---


@pytest.mark.parametrize(("fault", "times"), [("refuses", 1), ("fails", 2), ("is busy", 1)])
def test_a_rejected_command_is_sent_again_when_telnyx_repeats_the_event(
    carrier_client: TelnyxCarrierClient,
    server: TelnyxServer,
    call_record: CallRecord,
    number: str,
    fault: Fault,
    times: int,
) -> None:
    leg = carrier_client.switch.ring("v3:refused", to=number, from_=CALLER)
    ring = SIGNER.request(carrier_client.switch.pending.pop())
    server.inject_fault(fault, times)

    responses = [carrier_client.send_request(ring) for _ in range(2)]
    carrier_client.deliver_events()

    assert [response.status_code for response in responses] == [502, 200]
    assert responses[0].json["code"] == "carrier-failed"
    assert spoken_texts(leg) == ["Acme here."]
    assert call_record.transcript == ["agent: Acme here."]


def _double_and_shuffle(
    seed: int,
) -> Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]:
    """Return a function that returns each of the pending events twice, in random order."""
    generator = random.Random(seed)

    def double_and_shuffle(events: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        doubled = [*events, *events]
        generator.shuffle(doubled)
        return doubled

    return double_and_shuffle


@pytest.mark.parametrize("seed", range(6))
def test_doubled_and_shuffled_events_leave_the_same_record(
    carrier_client: TelnyxCarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    script_model: ScriptModel,
    sales_number: str,
    seed: int,
) -> None:
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(
        greeting="Acme here.", tools=["transfer"], transfer_targets=targets, recording=True
    )
    script_model(["At nine."], ["Two it is."], ["I connect you.", transfer("sales")], ["Goodbye."])
    carrier_client.order_events = _double_and_shuffle(seed)

    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])
    carrier_client.say(leg, "When?")
    carrier_client.keep_silent(leg)
    carrier_client.press(leg, "2")
    carrier_client.say(leg, "Sales, please.")
    carrier_client.switch.end_target(leg, "user_busy")
    carrier_client.deliver_events()
    carrier_client.hang_up(leg)

    assert [turn["speaker"] for turn in call_record.turns] == [
        *("agent", "caller", "agent", "agent"),
        *("caller", "agent", "caller", "agent", "agent"),
    ]
    assert call_record.end_state == ("completed", "caller_hangup")
    assert list_event_types(call_record) == ["ANSWERED", "ENDED", "RINGING"]
    assert spoken_texts(leg)[:3] == ["This call is recorded.", "Acme here.", "At nine."]
    assert len(spoken_texts(leg)) == 7


# --- Forged and foreign events ---


def test_a_forged_event_returns_403_and_writes_nothing(
    carrier_client: TelnyxCarrierClient, acme: Tenant, number: str
) -> None:
    ring = accounts.leg_event("call.initiated", to=number, direction="incoming")
    genuine = SIGNER.request(ring)

    for forged in (
        replace(genuine, headers={}),
        replace(genuine, body=genuine.body + b" "),
        Signer().request(ring),
        SIGNER.request(accounts.leg_event("call.initiated", to=number, connection_id="999")),
    ):
        assert carrier_client.send_request(forged).status_code == 403

    assert acme.get("/calls").json == []
    assert carrier_client.switch.legs == {}


def test_another_deployments_state_token_returns_400(
    carrier_client: TelnyxCarrierClient, acme: Tenant, number: str
) -> None:
    leg = carrier_client.ring(number)
    leg_state = LegState("listening", "another.token", leg.id)
    transcription = {"transcript": "Hello?", "is_final": True}

    forged = accounts.leg_event(
        "call.transcription", call_id=leg.id, mark=leg_state, transcription_data=transcription
    )

    assert carrier_client.send_request(SIGNER.request(forged)).status_code == 400


def test_an_event_without_meaning_is_accepted_without_a_token_check(
    carrier_client: TelnyxCarrierClient,
) -> None:
    leg_state = LegState("listening", "another.token", "v3:elsewhere")

    carrier_client.deliver_event(accounts.leg_event("call.bridged", mark=leg_state))

    assert carrier_client.switch.legs == {}
