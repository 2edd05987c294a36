"""Calls over a voice WebSocket: how the WebSocket ends, and the draining of a process."""

from threading import Event
from typing import NoReturn
from uuid import UUID

import pytest

from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import ConnectedTwilio
from tests.fakes.carriers.twilio.relay_session import SessionEnded
from tests.fakes.hostile_model import transfer
from tests.fakes.models import StepModel, hanging_step
from tests.integration.calls.conftest import CallRecord, use_model
from tests.integration.calls.relay.conftest import (
    ScriptModel,
    count_slots,
    open_session,
    open_socket,
)
from tests.support.factories import Tenant
from tests.support.processes import wait_until
from tests.support.services import app_services, use_settings
from vca.conversation.llm import ModelError
from vca.kit import clock
from vca.kit.db import DatabaseUnavailable
from vca.servers.relay import conversation, draining
from vca.servers.relay.conversation import Conversation
from vca.telephony.types import WebSocketFormat
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import turn_records


def raise_unavailable(*_: object, **__: object) -> NoReturn:
    raise DatabaseUnavailable


# --- The end of the WebSocket ---


def test_a_hang_up_frees_the_slot(
    relay_url: str, call: TwilioCall, call_record: CallRecord
) -> None:
    socket = open_socket(relay_url, call)
    assert count_slots() == 1

    socket.close()
    call.hang_up()

    wait_until(lambda: count_slots() == 0)
    assert call_record.end_state == ("completed", "caller_hangup")


def test_repeated_requests_after_the_websocket_get_the_same_response(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["I connect you.", transfer("sales")])
    socket = open_socket(relay_url, call)
    assert socket.say("Sales, please.") == "I connect you."
    handoff = socket.receive_end()
    call.copies = 3

    dial = call.end_relay(handoff)

    assert handoff == "done"
    assert dial.verbs == ["Dial"]
    assert call_record.call["status"] == "transferring"


def test_after_a_model_failure_the_caller_hears_a_sentence(
    relay_url: str, call: TwilioCall, call_record: CallRecord
) -> None:
    use_model(StepModel(ModelError("no", failure="unavailable")))
    socket = open_socket(relay_url, call)

    spoken_text = socket.say("When?")

    assert spoken_text
    assert call.end_relay(socket.receive_end()).verbs == ["Hangup"]
    assert call_record.end_state == ("completed", "model_error")


def test_without_the_database_the_caller_hears_a_sentence(
    monkeypatch: pytest.MonkeyPatch, relay_url: str, call: TwilioCall
) -> None:
    socket = open_socket(relay_url, call)
    monkeypatch.setattr(TenantDatabase, "connection", raise_unavailable)

    spoken_text = socket.say("When?")

    assert "call again" in spoken_text
    assert socket.receive_end() == "failed"
    monkeypatch.undo()
    assert call.end_relay("failed").verbs == ["Hangup"]


def test_the_apology_is_the_tenants_in_the_language_of_the_call(
    monkeypatch: pytest.MonkeyPatch, relay_url: str, acme: Tenant, call: TwilioCall
) -> None:
    [profile] = acme.get("/ai-profiles").json
    acme.patch(f"/ai-profiles/{profile['id']}", {"language": "it"})
    acme.patch("/settings", {"phrases": {"it": {"fallback": "Ci dispiace."}}})
    socket = open_socket(relay_url, call)
    monkeypatch.setattr(TenantDatabase, "connection", raise_unavailable)

    spoken_text = socket.say("Quando?")

    assert spoken_text.strip() == "Ci dispiace."
    assert socket.receive_end() == "failed"
    monkeypatch.undo()


def test_after_an_error_of_the_carrier_the_call_continues_over_http(
    relay_url: str, call: TwilioCall
) -> None:
    socket = open_socket(relay_url, call)

    socket.send("error", description="Invalid message received")

    assert call.end_relay(socket.receive_end()).verbs == ["Gather"]


def test_a_call_whose_websocket_never_opens_is_greeted_over_http(
    call: TwilioCall, call_record: CallRecord
) -> None:
    call.ring()

    twiml = call.end_relay(None)

    assert twiml.verbs == ["Gather"]
    assert twiml.spoken_text == "Acme here."
    assert call_record.transcript == ["agent: Acme here."]


def test_a_lost_websocket_is_replaced_and_repeats_the_last_answer(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    socket = open_socket(relay_url, call)
    socket.say("When?")
    socket.close()

    twiml = call.end_relay(None)

    assert twiml.find("ConversationRelay").get("welcomeGreeting") == "At nine."


def test_an_utterance_stored_by_a_killed_process_is_answered(
    call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    call.ring()
    with tenant_session(call_record.tenant.ref, database=app_services().database) as session:
        turn_records.insert_turn(
            session,
            UUID(call_record.call["id"]),
            sequence=2,
            speaker="caller",
            text="When?",
            started_at=clock.now(),
        )

    twiml = call.end_relay(None)

    assert twiml.find("ConversationRelay").get("welcomeGreeting") == "At nine."
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]


def test_after_a_hang_up_the_end_of_the_websocket_has_an_empty_response(call: TwilioCall) -> None:
    call.ring()

    assert call.end_relay(None, status="completed").verbs == []


def test_a_model_that_never_answers_ends_the_call_in_time(
    relay_url: str, call: TwilioCall, call_record: CallRecord
) -> None:
    use_model(StepModel(hanging_step()), first_s=0.2, whole_s=0.4)
    socket = open_socket(relay_url, call)

    assert socket.say("When?")
    socket.receive_end()
    assert call_record.end_state[1] == "model_error"


# --- Draining ---


def test_a_draining_process_drops_a_connection_in_silence(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    session = open_session(relay_url, call)
    session.say("When?")

    draining.PROCESS_DRAIN.start()

    session.socket.wait_for_drop()
    wait_until(lambda: count_slots() == 0)
    draining.PROCESS_DRAIN.stop()
    assert session.say("And on Sundays?") == "At nine."
    assert session.connection_count == 2
    wait_until(lambda: len(call_record.transcript) == 5)
    session.hang_up()


def test_a_draining_process_finishes_the_current_answer(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model(["Let me see. ", model_may_continue, "At nine."])
    socket = open_socket(relay_url, call)
    socket.send("prompt", voicePrompt="When?", last=True)
    assert socket.receive_frame()["token"] == "Let me see. "

    draining.PROCESS_DRAIN.start()
    model_may_continue.set()

    assert socket.receive_answer() == "At nine."
    socket.wait_for_drop()


def test_a_draining_process_stops_waiting_at_its_deadline(
    relay_url: str, call: TwilioCall, script_model: ScriptModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_model(["A very long story."])
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 0.01)
    socket = open_socket(relay_url, call)
    socket.say("When?")
    monkeypatch.setattr(draining, "MAX_DRAIN_S", 0.0)

    draining.PROCESS_DRAIN.start()

    socket.wait_for_drop()


def test_a_carrier_that_does_not_reconnect_is_handed_over_a_call(
    relay_url: str,
    twilio: ConnectedTwilio,
    call: TwilioCall,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script_model(["At nine."])
    monkeypatch.setattr(twilio.adapter, "websocket_format", WebSocketFormat("callSid"))
    socket = open_socket(relay_url, call)
    socket.say("When?")

    draining.PROCESS_DRAIN.start()

    handoff = socket.receive_end()
    draining.PROCESS_DRAIN.stop()
    wait_until(lambda: count_slots() == 0)
    twiml = call.end_relay(handoff)
    assert (handoff, twiml.verbs) == ("resume", ["Connect"])
    assert twiml.find("ConversationRelay").get("welcomeGreeting") is None
    next_socket = open_socket(relay_url, call, twiml)
    assert next_socket.say("And on Sundays?") == "At nine."
    next_socket.close()


@pytest.mark.parametrize("reconnects", [True, False], ids=["reconnects", "is handed over"])
def test_an_utterance_at_the_end_of_a_connection_is_answered(
    relay_url: str,
    twilio: ConnectedTwilio,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reconnects: bool,
) -> None:
    script_model(["At nine."])
    monkeypatch.setattr(
        twilio.adapter, "websocket_format", WebSocketFormat("callSid", reconnects=reconnects)
    )
    monkeypatch.setattr(Conversation, "_should_stop", _stop_with_two_unread_frames)
    socket = open_socket(relay_url, call)

    socket.send("interrupt", utteranceUntilInterrupt="Acme")
    socket.send("prompt", voicePrompt="When?", last=True)

    if reconnects:
        socket.wait_for_drop()
    else:
        assert socket.receive_end() == "resume"
    wait_until(lambda: count_slots() == 0)
    monkeypatch.undo()
    assert call_record.transcript == ["agent: Acme here.", "caller: When?"]
    assert call_record.turns[0]["heard_text"] == "Acme"
    assert call.twiml is not None
    if reconnects:
        next_socket = open_socket(relay_url, call, call.twiml)
        assert next_socket.receive_answer() == "At nine."
        next_socket.close()
    else:
        twiml = call.end_relay("resume")
        assert twiml.find("ConversationRelay").get("welcomeGreeting") == "At nine."


def _stop_with_two_unread_frames(self: Conversation) -> bool:
    """Stop as a draining process does, once two frames have arrived."""
    wait_until(lambda: len(self._connection._ws.input_buffer) == 2)
    return True


def test_a_connection_without_a_free_slot_ends_and_the_call_continues_over_http(
    relay_url: str, call: TwilioCall
) -> None:
    session = open_session(relay_url, call)
    session.socket.break_connection()
    use_settings(relay_slots=0)

    with pytest.raises(SessionEnded) as end:
        session.receive_frame()

    twiml = call.end_relay(end.value.handoff)
    assert (twiml.verbs, twiml.spoken_text) == (["Gather"], "")
