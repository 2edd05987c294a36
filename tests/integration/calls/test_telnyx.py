"""Calls through Telnyx from ring to hang-up: signed events, its API on loopback, its own SDK."""

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
from tests.fakes.carriers.telnyx.server import TelnyxServer, telnyx_server
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

Says = Callable[..., SequenceModel]
NOBODY = "nobody could be reached"
SIGNER = Signer()


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    with telnyx_server() as server:
        yield server


@pytest.fixture
def carrier_client(
    settings: Settings, server: TelnyxServer, anonymous: Api
) -> Iterator[TelnyxCarrierClient]:
    """The deployment's account with Telnyx, and Telnyx's line into the product."""
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
    """A number of acme's that an agent answers."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"], silence_seconds=7)
    found: str = acme.number(provider_type="telnyx")["did_number"]
    return found


def _events(record: CallRecord) -> list[str]:
    events = record.tenant.get(f"/calls/{record.call['id']}/events").json
    return sorted(event["event_type"] for event in events)


# --- From ring to hang-up -----------------------------------------------------------------------


def test_a_call_is_answered_greeted_held_and_hung_up_once_the_last_word_was_said(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    script_model(["At nine."])

    leg = carrier_client.ring(number)
    carrier_client.say(leg, "When do you open?")
    carrier_client.say(leg, "Goodbye!")

    turns = ["agent: Acme here.", "caller: When do you open?", "agent: At nine."]
    assert call_record.transcript[:3] == turns
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


def test_a_ring_is_only_answered_and_what_is_said_waits_until_it_was(
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


def test_who_hangs_up_ends_the_call(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, number: str
) -> None:
    leg = carrier_client.ring(number)

    carrier_client.hang_up(leg)

    assert call_record.end_state == ("completed", "caller_hangup")
    assert _events(call_record) == ["ANSWERED", "ENDED", "RINGING"]


def test_a_number_that_nobody_has_is_refused_and_never_answered(
    carrier_client: TelnyxCarrierClient, acme: Tenant
) -> None:
    leg = carrier_client.ring(fresh_number())

    assert command_names(leg) == ["reject"]
    assert not leg.answered


def test_the_caller_is_heard_in_the_profiles_language(
    carrier_client: TelnyxCarrierClient, acme: Tenant
) -> None:
    acme.profile(greeting="Grüß Gott.", language="de-AT")

    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])

    listening = dict(leg.commands)["transcription_start"]
    assert listening["transcription_engine_config"]["language"] == "de"
    assert dict(leg.commands)["gather_using_speak"]["voice"] == "AWS.Polly.Hannah-Neural"


# --- Turns --------------------------------------------------------------------------------------


def test_who_says_nothing_is_asked_and_may_go_on(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    script_model(["At nine."])
    leg = carrier_client.ring(number)
    assert dict(leg.commands)["gather_using_speak"]["timeout_millis"] == 7_000

    carrier_client.keep_silent(leg)
    carrier_client.say(leg, "When?")

    assert [turn["speaker"] for turn in call_record.turns] == ["agent", "agent", "caller", "agent"]
    assert spoken_texts(leg)[-1] == "At nine."


def test_keys_are_a_turn(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    model = script_model(["Two it is."])
    leg = carrier_client.ring(number)

    carrier_client.press(leg, "2#")

    assert model.requests[0].messages[-1].text == "(pressed 2 #)"
    assert spoken_texts(leg)[-1] == "Two it is."


def test_two_sentences_in_one_breath_are_both_answered_and_nothing_is_lost(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    script_model(["Hello Jane."], ["That hurts."])
    leg = carrier_client.ring(number)

    carrier_client.say(leg, "I am Jane.", "My tooth hurts.")

    assert [turn["speaker"] for turn in call_record.turns].count("caller") == 2
    assert spoken_texts(leg) == ["Acme here.", "Hello Jane.", "That hurts."]
    assert command_names(leg)[-4:] == ["stop_gather", "gather_using_speak"] * 2


def test_a_silence_that_ends_after_the_caller_was_answered_is_none(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, script_model: Says, number: str
) -> None:
    script_model(["At nine."])
    leg = carrier_client.ring(number)
    before = leg.client_state
    carrier_client.say(leg, "When?")
    said = spoken_texts(leg)

    late = accounts.leg_event("call.gather.ended", call_id=leg.id, status="timeout")
    late["data"]["payload"]["client_state"] = before
    carrier_client.deliver_event(late)

    assert spoken_texts(leg) == said
    assert len(call_record.turns) == 3


def test_while_the_model_thinks_something_is_said_and_the_rest_when_it_is_there(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    number: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    thought = Event()
    use_model(StepModel(thought, "We open at nine."), filler_s=0.05)
    leg = carrier_client.ring(number)

    carrier_client.switch.say(leg, "When?")
    carrier_client.deliver_event(carrier_client.switch.pending.pop())
    assert spoken_texts(leg)[1:] == ["One moment, please."]
    thought.set()
    carrier_client.deliver_events()

    assert spoken_texts(leg)[1:] == ["One moment, please.", "We open at nine."]
    assert command_names(leg)[-3:] == ["stop_gather", "speak", "gather_using_speak"]
    assert len(call_record.turns) == 3


@pytest.mark.parametrize(("fault", "times"), [("refuses", 1), ("fails", 2), ("is busy", 1)])
def test_a_command_that_telnyx_did_not_take_is_given_when_it_tells_the_same_again(
    carrier_client: TelnyxCarrierClient,
    server: TelnyxServer,
    call_record: CallRecord,
    number: str,
    fault: Any,
    times: int,
) -> None:
    leg = carrier_client.switch.ring("v3:refused", to=number, from_=CALLER)
    ring = SIGNER.request(carrier_client.switch.pending.pop())
    server.inject_fault(fault, times)

    answers = [carrier_client.send_request(ring) for _ in range(2)]
    carrier_client.deliver_events()

    assert [answer.status_code for answer in answers] == [502, 200]
    assert answers[0].json["code"] == "carrier-failed"
    assert spoken_texts(leg) == ["Acme here."]
    assert call_record.transcript == ["agent: Acme here."]


# --- Transfers, voicemail, recordings -----------------------------------------------------------


@pytest.fixture
def sales_number() -> str:
    """The number behind the name."""
    return fresh_number()


@pytest.fixture
def transferring_leg(
    carrier_client: TelnyxCarrierClient, acme: Tenant, script_model: Says, sales_number: str
) -> Leg:
    """A call on its way to sales."""
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(greeting="Acme here.", tools=["transfer"], transfer_targets=targets)
    script_model(["I connect you.", transfer("sales")], ["At nine."])
    leg = carrier_client.ring(acme.number(provider_type="telnyx")["did_number"])
    carrier_client.say(leg, "Sales, please.")
    return leg


def test_a_caller_is_told_and_then_connected_and_the_call_ends_with_the_leg(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    transferring_leg: Leg,
    sales_number: str,
) -> None:
    assert command_names(transferring_leg)[-3:] == ["speak", "stop_transcription", "transfer"]
    assert not transferring_leg.transcribing  # what they say to each other is not for us
    assert transferring_leg.target is not None
    assert transferring_leg.target.to == sales_number
    assert call_record.end_state == ("transferring", None)

    carrier_client.switch.bridge(transferring_leg)
    carrier_client.deliver_events()
    carrier_client.switch.end_target(transferring_leg)
    carrier_client.deliver_events()

    assert call_record.end_state == ("completed", "transferred")


@pytest.mark.parametrize(
    "cause", ["user_busy", "call_rejected", "timeout", "no_answer", "not_found", "unspecified"]
)
def test_a_transfer_that_reaches_nobody_brings_the_agent_back(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, transferring_leg: Leg, cause: str
) -> None:
    carrier_client.switch.end_target(transferring_leg, cause)
    carrier_client.deliver_events()
    carrier_client.say(transferring_leg, "When are they in?")

    assert NOBODY in spoken_texts(transferring_leg)[-2]
    assert spoken_texts(transferring_leg)[-1] == "At nine."
    assert call_record.end_state == ("in_progress", None)


def test_a_caller_who_gives_up_while_it_rings_there_has_hung_up(
    carrier_client: TelnyxCarrierClient, call_record: CallRecord, transferring_leg: Leg
) -> None:
    carrier_client.hang_up(transferring_leg)

    assert call_record.end_state == ("completed", "caller_hangup")


def test_a_forward_that_reaches_nobody_does_not_leave_the_caller_in_silence(
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
    """A number whose callers may leave a message now."""
    acme.patch("/settings", {"sentences": {"closed": "Leave us a message."}})
    acme.profile()
    hours = {"weekly": {}, "closed_action": "voicemail"}
    found: str = acme.number(provider_type="telnyx", hours=hours)["did_number"]
    return found


@pytest.mark.parametrize("who", ["the caller", "the tape"])
def test_what_a_caller_leaves_is_a_message_with_its_audio(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    world: Factory,
    voicemail_number: str,
    who: str,
) -> None:
    leg = carrier_client.ring(voicemail_number)
    assert command_names(leg) == ["answer", "speak", "start_recording"]

    if who == "the tape":
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


def test_the_tape_runs_once_the_caller_knows_and_its_audio_is_fetched(
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
    audio = acme.get(f"/calls/{call_record.call['id']}/recording")
    assert audio.data == b"RIFF of " + leg.id.encode()
    assert carrier_client.switch.recordings == {}


# --- Calls that we place ------------------------------------------------------------------------


@pytest.fixture
def outbound_leg(
    carrier_client: TelnyxCarrierClient, acme: Tenant, number: str, world: Factory
) -> Leg:
    """A call of acme's that rings somewhere."""
    [own] = acme.get("/phone-numbers").json
    with tenant_session(acme.ref) as session:
        to = fresh_number()
        call = outbound_calls.place_call(session, to=to, from_phone_number_id=UUID(own["id"]))
        ref = CallRef(acme.ref, call.id)
    outbound_calls.dial(ref)
    carrier_client.deliver_events()
    [leg] = carrier_client.switch.dialled.values()
    return leg


def test_whom_we_call_is_greeted_and_heard(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    script_model: Says,
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
def test_whom_we_do_not_reach_fails_the_call(
    carrier_client: TelnyxCarrierClient,
    call_record: CallRecord,
    outbound_leg: Leg,
    cause: str,
    reason: str,
) -> None:
    carrier_client.switch.end_leg(outbound_leg, cause)
    carrier_client.deliver_events()

    assert call_record.end_state == ("failed", reason)


def test_a_call_that_we_placed_is_transferred_with_our_number(
    carrier_client: TelnyxCarrierClient,
    acme: Tenant,
    script_model: Says,
    outbound_leg: Leg,
    number: str,
    sales_number: str,
) -> None:
    script_model([transfer("sales")])
    carrier_client.switch.answer_leg(outbound_leg)
    carrier_client.deliver_events()
    carrier_client.say(outbound_leg, "Sales, please.")
    assert outbound_leg.target is None  # the profile of this call knows no such target

    carrier = providers.current_carriers().adapter("telnyx")
    assert carrier is not None
    order = CallReply((Transfer(sales_number),), "token")
    carrier.update_live_call(outbound_leg.id, order, callback_url=f"{BASE_URL}/telephony/telnyx/")

    assert outbound_leg.target is not None
    assert outbound_leg.target.from_ == number


# --- Whatever Telnyx repeats, in whatever order -------------------------------------------------


def _shuffled(seed: int) -> Callable[[Sequence[dict[str, Any]]], Sequence[dict[str, Any]]]:
    """Every event twice, in any order of those that are on their way."""
    dice = random.Random(seed)

    def sent(events: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        doubled = [*events, *events]
        dice.shuffle(doubled)
        return doubled

    return sent


@pytest.mark.parametrize("seed", range(6))
def test_events_in_any_order_and_twice_are_the_same_call(
    carrier_client: TelnyxCarrierClient,
    acme: Tenant,
    call_record: CallRecord,
    script_model: Says,
    sales_number: str,
    seed: int,
) -> None:
    targets = {"sales": {"number": sales_number, "description": "buys"}}
    acme.profile(
        greeting="Acme here.", tools=["transfer"], transfer_targets=targets, recording=True
    )
    script_model(["At nine."], ["Two it is."], ["I connect you.", transfer("sales")], ["Goodbye."])
    carrier_client.order_events = _shuffled(seed)

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
    assert _events(call_record) == ["ANSWERED", "ENDED", "RINGING"]
    assert spoken_texts(leg)[:3] == ["This call is recorded.", "Acme here.", "At nine."]
    assert len(spoken_texts(leg)) == 7


# --- Not Telnyx ---------------------------------------------------------------------------------


def test_what_is_not_signed_is_403_and_nothing_is_written(
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


def test_another_deployments_token_is_not_ours(
    carrier_client: TelnyxCarrierClient, acme: Tenant, number: str
) -> None:
    leg = carrier_client.ring(number)
    mark = LegState("listening", "another.token", leg.id)
    heard_of = {"transcript": "Hello?", "is_final": True}

    forged = accounts.leg_event(
        "call.transcription", call_id=leg.id, mark=mark, transcription_data=heard_of
    )

    assert carrier_client.send_request(SIGNER.request(forged)).status_code == 400


def test_what_says_nothing_to_the_product_is_taken_and_not_looked_into(
    carrier_client: TelnyxCarrierClient,
) -> None:
    mark = LegState("listening", "another.token", "v3:elsewhere")

    carrier_client.deliver_event(accounts.leg_event("call.bridged", mark=mark))

    assert carrier_client.switch.legs == {}
