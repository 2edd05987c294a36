"""Inbound calls through Telnyx: the answer, the turns and the hang-up."""

from threading import Event

import pytest

from tests.fakes.carriers.telnyx import accounts
from tests.fakes.carriers.telnyx.accounts import CALLER
from tests.fakes.carriers.telnyx.carrier_client import (
    TelnyxCarrierClient,
    command_names,
    spoken_texts,
)
from tests.fakes.models import StepModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.integration.calls.telnyx.conftest import ScriptModel, list_event_types
from tests.support.factories import Tenant, fresh_number
from vca.tenant.calls.carrier_webhooks import polled_turn

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
    assert list_event_types(call_record) == ["ANSWERED", "ENDED", "RINGING"]


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
