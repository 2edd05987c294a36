"""Calls through Telnyx: signed events, commands to its API on loopback, and its SDK."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.accounts import BASE_URL, CALLER, create_adapter, new_account
from tests.fakes.carriers.telnyx.calls import Leg
from tests.fakes.carriers.telnyx.carrier_client import (
    TelnyxCarrierClient,
    command_names,
    spoken_texts,
)
from tests.fakes.carriers.telnyx.server import Fault, TelnyxServer, telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from tests.fakes.hostile_model import transfer
from tests.fakes.models import SequenceModel, StepModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support.api import Api
from tests.support.factories import Factory, Tenant, fresh_number
from vca.settings import Settings
from vca.telephony import providers
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import CallReply, Transfer
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.control import outbound_calls
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core.call_types import CallRef

ScriptModel = Callable[..., SequenceModel]
UNREACHED_TEXT = "nobody could be reached"
SIGNER = Signer()


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    """Return a running fake of Telnyx's API."""
    with telnyx_server() as server:
        yield server


@pytest.fixture
def carrier_client(
    settings: Settings, server: TelnyxServer, anonymous: Api
) -> Iterator[TelnyxCarrierClient]:
    """Install a Telnyx account as the deployment's carrier; return a client for its events."""
    call_services.set_current_services(
        replace(call_services.current_services(), public_base_url=BASE_URL)
    )
    providers.set_current_carriers(providers.Carriers(settings)).register(
        create_adapter(server, SIGNER)
    )
    with new_account(server):
        yield TelnyxCarrierClient(server, SIGNER, anonymous)


@pytest.fixture
def number(carrier_client: TelnyxCarrierClient, acme: Tenant) -> str:
    """Return a number of acme that an agent answers."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"], silence_seconds=7)
    number: str = acme.number(provider_type="telnyx")["did_number"]
    return number


def _list_event_types(record: CallRecord) -> list[str]:
    events = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return sorted(event["event_type"] for event in events)


# --- From the inbound call to the hang-up ---


def test_the_agent_hangs_up_after_the_last_answer_was_spoken(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    number: str,
) -> None:
    script_model(["At nine."])

    leg = carrier_client.ring(number)
    carrier_client.say(leg, "When do you open?")
    carrier_client.say(leg, "Goodbye!")

    first_turns = ["agent: Acme here.", "caller: When do you open?", "agent: At nine."]
    assert call_record.transcript[:3] == first_turns
    assert spoken_texts(leg) == [
        line.partition(": ")[2] for line in call_record.transcript if "agent" in line
    ]
    assert command_names(leg) == [
        *("answer", "start_transcription", "gather_using_speak"),
        *("stop_gather", "gather_using_speak"),
        *("stop_gather", "speak", "hangup"),
    ]
    assert call_record.end_state == ("completed", "agent_hangup")
    assert (call_record.call["caller_number"], call_record.call["provider_call_id"]) == (
        CALLER,
        leg.id,
    )
    assert not leg.alive


def test_the_agent_speaks_only_after_telnyx_reports_the_answer(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, number: str
) -> None:
    leg = carrier_client.switch.ring("v3:rings", to=number, from_=CALLER)
    [ring] = carrier_client.switch.pending
    carrier_client.switch.pending = []

    carrier_client.deliver_event(ring)

    assert command_names(leg) == ["answer"]
    assert call_record.end_state == ("in_progress", None)
    carrier_client.deliver_events()
    assert command_names(leg) == ["answer", "start_transcription", "gather_using_speak"]
    assert call_record.transcript == ["agent: Acme here."]


def test_a_hang_up_of_the_caller_ends_the_call(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, number: str
) -> None:
    leg = carrier_client.ring(number)

    carrier_client.hang_up(leg)

    assert call_record.end_state == ("completed", "caller_hangup")
    assert _list_event_types(call_record) == ["ANSWERED", "ENDED", "RINGING"]


def test_a_call_to_an_unknown_number_is_rejected(
    carrier_client: TelnyxCarrierClient, acme: Tenant
) -> None:
    leg = carrier_client.ring(fresh_number())

    assert command_names(leg) == ["reject"]
    assert not leg.answered


def test_transcription_and_voice_use_the_profiles_language(
    carrier_client: TelnyxCarrierClient, acme: Tenant
) -> None:
    acme.profile(greeting="Grüß Gott.", language="de-AT")

    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])

    transcription = dict(leg.commands)["transcription_start"]
    assert transcription["transcription_engine_config"]["language"] == "de"
    assert dict(leg.commands)["gather_using_speak"]["voice"] == "AWS.Polly.Hannah-Neural"


# --- Turns ---


def test_a_silent_caller_is_prompted_and_may_continue(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    number: str,
) -> None:
    script_model(["At nine."])
    leg = carrier_client.ring(number)
    assert dict(leg.commands)["gather_using_speak"]["timeout_millis"] == 7_000

    carrier_client.keep_silent(leg)
    carrier_client.say(leg, "When?")

    assert [turn["speaker"] for turn in call_record.turns] == ["agent", "agent", "caller", "agent"]
    assert spoken_texts(leg)[-1] == "At nine."


def test_pressed_keys_are_a_turn(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    number: str,
) -> None:
    model = script_model(["Two it is."])
    leg = carrier_client.ring(number)

    carrier_client.press(leg, "2#")

    assert model.requests[0].messages[-1].text == "(pressed 2 #)"
    assert spoken_texts(leg)[-1] == "Two it is."


def test_two_utterances_without_a_pause_are_both_answered(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    number: str,
) -> None:
    script_model(["Hello Jane."], ["That hurts."])
    leg = carrier_client.ring(number)

    carrier_client.say(leg, "I am Jane.", "My tooth hurts.")

    assert [turn["speaker"] for turn in call_record.turns].count("caller") == 2
    assert spoken_texts(leg) == ["Acme here.", "Hello Jane.", "That hurts."]
    assert command_names(leg)[-4:] == ["stop_gather", "gather_using_speak"] * 2


def test_a_timeout_event_of_an_earlier_turn_is_ignored(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    number: str,
) -> None:
    script_model(["At nine."])
    leg = carrier_client.ring(number)
    old_client_state = leg.client_state
    carrier_client.say(leg, "When?")
    texts_before = spoken_texts(leg)

    late_event = accounts.leg_event("call.gather.ended", call_id=leg.id, status="timeout")
    late_event["data"]["payload"]["client_state"] = old_client_state
    carrier_client.deliver_event(late_event)

    assert spoken_texts(leg) == texts_before
    assert len(call_record.turns) == 3


def test_a_slow_answer_starts_with_a_filler(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    number: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    model_may_answer = Event()
    use_model(StepModel(model_may_answer, "We open at nine."), filler_s=0.05)
    leg = carrier_client.ring(number)

    carrier_client.switch.say(leg, "When?")
    carrier_client.deliver_event(carrier_client.switch.pending.pop())
    assert spoken_texts(leg)[1:] == ["One moment, please."]
    model_may_answer.set()
    carrier_client.deliver_events()

    assert spoken_texts(leg)[1:] == ["One moment, please.", "We open at nine."]
    assert command_names(leg)[-3:] == ["stop_gather", "speak", "gather_using_speak"]
    assert len(call_record.turns) == 3


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


# --- Transfers, voicemail, recordings ---


@pytest.fixture
def sales_number() -> str:
    """Return the number of the transfer target."""
    return fresh_number()


@pytest.fixture
def transferring_leg(
    carrier_client: TelnyxCarrierClient, acme: Tenant, script_model: ScriptModel, sales_number: str
) -> Leg:
    """Return the leg of a call that is being transferred to sales."""
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=["transfer"], transfer_targets=targets)
    script_model(["I connect you.", transfer("sales")], ["At nine."])
    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])
    carrier_client.say(leg, "Sales, please.")
    return leg


def test_a_transferred_call_ends_with_the_leg_to_the_target(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    transferring_leg: Leg,
    sales_number: str,
) -> None:
    assert command_names(transferring_leg)[-3:] == ["speak", "stop_transcription", "transfer"]
    assert not transferring_leg.transcribing  # the conversation with the target is private
    assert transferring_leg.target is not None
    assert transferring_leg.target.to == sales_number
    state_during_transfer = call_record.end_state
    assert state_during_transfer == ("transferring", None)

    carrier_client.switch.bridge(transferring_leg)
    carrier_client.deliver_events()
    carrier_client.switch.end_target(transferring_leg)
    carrier_client.deliver_events()

    assert call_record.end_state == ("completed", "transferred")


@pytest.mark.parametrize(
    "cause", ["user_busy", "call_rejected", "timeout", "no_answer", "not_found", "unspecified"]
)
def test_after_a_failed_transfer_the_agent_continues_the_call(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, transferring_leg: Leg, cause: str
) -> None:
    carrier_client.switch.end_target(transferring_leg, cause)
    carrier_client.deliver_events()
    carrier_client.say(transferring_leg, "When are they in?")

    assert UNREACHED_TEXT in spoken_texts(transferring_leg)[-2]
    assert spoken_texts(transferring_leg)[-1] == "At nine."
    assert call_record.end_state == ("in_progress", None)


def test_a_hang_up_during_a_transfer_ends_the_call(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, transferring_leg: Leg
) -> None:
    carrier_client.hang_up(transferring_leg)

    assert call_record.end_state == ("completed", "caller_hangup")


def test_a_failed_forward_ends_the_call(
    carrier_client: TelnyxCarrierClient, acme: Tenant, sales_number: str
) -> None:
    number = acme.number(provider_type="telnyx", mode="forward", forward_to=sales_number)
    leg = carrier_client.ring(number["did_number"])
    assert command_names(leg) == ["answer", "transfer"]

    carrier_client.switch.end_target(leg, "user_busy")
    carrier_client.deliver_events()

    assert command_names(leg) == ["answer", "transfer", "hangup"]
    assert not leg.alive


@pytest.fixture
def voicemail_number(carrier_client: TelnyxCarrierClient, acme: Tenant) -> str:
    """Return a closed number whose callers may leave a message."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    hours = {"weekly": {}, "closed_action": "voicemail"}
    number: str = acme.number(provider_type="telnyx", hours=hours)["did_number"]
    return number


@pytest.mark.parametrize("ended_by", ["the caller", "the recording limit"])
def test_a_voicemail_creates_a_message_with_its_audio(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    world: Factory,
    voicemail_number: str,
    ended_by: str,
) -> None:
    leg = carrier_client.ring(voicemail_number)
    assert command_names(leg) == ["answer", "speak", "start_recording"]

    if ended_by == "the recording limit":
        carrier_client.switch.fill_recording(leg)
        carrier_client.deliver_events()
    else:
        carrier_client.hang_up(leg)
    world.run_jobs(call_record.tenant)

    assert not leg.alive
    assert call_record.end_state == ("completed", "voicemail")
    [message] = call_record.messages
    assert call_record.tenant.api.get(message["audio"]).data == b"RIFF of " + leg.id.encode()
    assert carrier_client.switch.recordings == {}


def test_a_recording_starts_after_the_consent_and_its_audio_is_fetched(
    carrier_client: TelnyxCarrierClient, acme: Tenant, call_record: CallRecord, world: Factory
) -> None:
    acme.profile(greeting="Acme here.", recording=True)
    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])

    carrier_client.hang_up(leg)
    world.run_jobs(call_record.tenant)

    assert command_names(leg)[:5] == [
        *("answer", "start_transcription", "speak"),
        *("start_recording", "gather_using_speak"),
    ]
    assert spoken_texts(leg) == ["This call is recorded.", "Acme here."]
    response = acme.get(f"/calls/{call_record.call['id']}/recording")
    assert response.data == b"RIFF of " + leg.id.encode()
    assert carrier_client.switch.recordings == {}


# --- Outbound calls ---


@pytest.fixture
def outbound_leg(
    carrier_client: TelnyxCarrierClient, acme: Tenant, number: str, world: Factory
) -> Leg:
    """Return the leg of an outbound call of acme that rings."""
    [phone_number] = acme.get("/phone-numbers").json
    with tenant_session(acme.ref) as session:
        to = fresh_number()
        call = outbound_calls.place_call(
            session, to=to, from_phone_number_id=UUID(phone_number["id"])
        )
        ref = CallRef(acme.ref, call.id)
    outbound_calls.dial(ref)
    carrier_client.deliver_events()
    [leg] = carrier_client.switch.dialled.values()
    return leg


def test_a_called_person_is_greeted_and_answered(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    outbound_leg: Leg,
    number: str,
) -> None:
    script_model(["At nine."])
    assert (outbound_leg.from_, call_record.call["provider_call_id"]) == (number, outbound_leg.id)

    carrier_client.switch.answer_leg(outbound_leg)
    carrier_client.deliver_events()
    carrier_client.say(outbound_leg, "When?")
    carrier_client.hang_up(outbound_leg)

    assert spoken_texts(outbound_leg) == ["Acme here.", "At nine."]
    assert call_record.end_state == ("completed", "caller_hangup")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("user_busy", "busy"), ("timeout", "no_answer"), ("not_found", "invalid_number")],
)
def test_an_unanswered_outbound_call_fails_with_its_reason(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    outbound_leg: Leg,
    cause: str,
    reason: str,
) -> None:
    carrier_client.switch.end_leg(outbound_leg, cause)
    carrier_client.deliver_events()

    assert call_record.end_state == ("failed", reason)


def test_an_outbound_call_is_transferred_with_the_tenants_number(
    carrier_client: TelnyxCarrierClient,
    acme: Tenant,
    script_model: ScriptModel,
    outbound_leg: Leg,
    number: str,
    sales_number: str,
) -> None:
    script_model([transfer("sales")])
    carrier_client.switch.answer_leg(outbound_leg)
    carrier_client.deliver_events()
    carrier_client.say(outbound_leg, "Sales, please.")
    target_before_update = outbound_leg.target
    assert target_before_update is None  # the profile of this call has no such target

    carrier = providers.current_carriers().adapter("telnyx")
    assert carrier is not None
    reply = CallReply((Transfer(sales_number),), "token")
    carrier.update_live_call(outbound_leg.id, reply, callback_url=f"{BASE_URL}/telephony/telnyx/")

    assert outbound_leg.target is not None
    assert outbound_leg.target.from_ == number


# --- Repeated and reordered events ---


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
    assert _list_event_types(call_record) == ["ANSWERED", "ENDED", "RINGING"]
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
