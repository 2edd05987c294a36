"""Calls whose carrier replaces a lost connection: nothing is repeated, lost or answered twice."""

from functools import partial
from threading import Barrier, Event
from typing import Any
from uuid import UUID

import pytest
from simple_websocket import ConnectionClosed

from tests.fakes.carriers.call_scripts import open_twilio_socket
from tests.fakes.carriers.carrier_websocket import CarrierWebSocket
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.integration.calls.conftest import CallRecord
from tests.integration.calls.relay.conftest import (
    ScriptModel,
    count_slots,
    open_session,
    open_socket,
)
from tests.support.concurrency import run_concurrently
from tests.support.factories import Tenant
from tests.support.processes import wait_until
from tests.support.services import app_services
from vca.kit import clock
from vca.observability import prometheus
from vca.servers.relay import conversation
from vca.servers.relay.connection import NORMAL_CLOSURE, POLICY_VIOLATION
from vca.services import Services
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import voice_websockets
from vca.tenant.calls.core import record, turn_records
from vca.tenant.calls.core.call_transfer import CallTransfer


def _lose_connection(socket: CarrierWebSocket) -> None:
    """Break the connection and wait until its process has noticed it."""
    socket.break_connection()
    wait_until(lambda: count_slots() == 0)


def _store_utterance(call_record: CallRecord, utterance: str, *, sequence: int) -> None:
    """Store an utterance as a process does that is killed before it can answer."""
    with tenant_session(call_record.tenant.ref, database=app_services().database) as session:
        turn_records.insert_turn(
            session,
            UUID(call_record.call["id"]),
            sequence=sequence,
            speaker="caller",
            text=utterance,
            started_at=clock.now(),
        )


def test_the_conversation_goes_on_without_a_repeated_greeting(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["At nine."], ["At ten."])
    session = open_session(relay_url, call)
    assert session.say("When?") == "At nine."
    _lose_connection(session.socket)

    assert session.say("And on Sundays?") == "At ten."

    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.transcript[1:] == [
        "caller: When?",
        "agent: At nine.",
        "caller: And on Sundays?",
        "agent: At ten.",
    ]
    session.hang_up()


def test_a_reconnection_is_counted(relay_url: str, call: TwilioCall) -> None:
    sample = 'vca_relay_reconnects_total{carrier="twilio"} '

    def count_reconnections() -> float:
        lines = prometheus.exposition().decode().splitlines()
        [value] = [line.removeprefix(sample) for line in lines if line.startswith(sample)]
        return float(value)

    count = count_reconnections()
    session = open_session(relay_url, call)
    _lose_connection(session.socket)

    session.reconnect()

    wait_until(lambda: count_reconnections() == count + 1)
    session.hang_up()


def test_a_connection_can_be_replaced_several_times(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    session = open_session(relay_url, call)

    for _ in range(3):
        _lose_connection(session.socket)
        assert session.say("When?") == "At nine."

    assert session.connection_count == 4
    assert count_slots() == 1
    session.hang_up()


def test_an_utterance_that_a_killed_process_has_stored_is_answered_once(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["At nine."], ["At ten."])
    session = open_session(relay_url, call)
    _lose_connection(session.socket)
    _store_utterance(call_record, "When?", sequence=2)
    session.send("prompt", voicePrompt="When?", last=True)

    assert session.receive_answer() == "At nine."
    assert session.say("And on Sundays?") == "At ten."

    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.transcript[1:4] == [
        "caller: When?",
        "agent: At nine.",
        "caller: And on Sundays?",
    ]
    session.hang_up()


def test_a_stored_utterance_is_recognized_although_it_was_redacted(
    relay_url: str,
    acme: Tenant,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: ScriptModel,
) -> None:
    [profile] = acme.get("/ai-profiles").json
    acme.patch(f"/ai-profiles/{profile['id']}", {"redaction": {"email_addresses": True}})
    script_model(["Thank you."], ["Yes."])
    session = open_session(relay_url, call)
    _lose_connection(session.socket)
    _store_utterance(call_record, "It is [e-mail address]", sequence=2)
    session.send("prompt", voicePrompt="It is joe@example.com", last=True)

    assert session.receive_answer() == "Thank you."
    assert session.say("Is that all?") == "Yes."

    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.transcript[3] == "caller: Is that all?"
    session.hang_up()


def test_everything_said_without_a_connection_is_stored_and_the_last_is_answered(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    session = open_session(relay_url, call)
    _lose_connection(session.socket)
    _store_utterance(call_record, "When?", sequence=2)
    session.send("interrupt", utteranceUntilInterrupt="Acme")
    session.send("prompt", voicePrompt="When?", last=True)
    session.send("prompt", voicePrompt="Hello, are you there?", last=True)

    assert session.receive_answer() == "At nine."

    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.turns[0]["heard_text"] == "Acme"
    callers_turns = [line for line in call_record.transcript if line.startswith("caller")]
    assert callers_turns == ["caller: When?", "caller: Hello, are you there?"]
    session.hang_up()


def test_a_caller_who_repeats_an_answered_utterance_is_answered_again(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    session = open_session(relay_url, call)
    session.say("When?")
    _lose_connection(session.socket)

    assert session.say("When?") == "At nine."

    wait_until(lambda: call_record.transcript.count("caller: When?") == 2)
    session.hang_up()


def test_keys_pressed_without_a_connection_are_answered(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["You pressed it."])
    session = open_session(relay_url, call)
    _lose_connection(session.socket)

    session.send("dtmf", digit="4")
    session.send("dtmf", digit="2")

    assert session.receive_answer() == "You pressed it."
    wait_until(lambda: len(call_record.transcript) == 3)
    assert call_record.transcript[1] == "caller: (pressed 4 2)"
    session.hang_up()


def test_an_utterance_during_whose_answer_the_connection_broke_is_answered_again(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model(["Let me see. ", model_may_continue, "At nine. ", "Or at ten."], ["At nine."])
    session = open_session(relay_url, call)
    session.send("prompt", voicePrompt="When?", last=True)
    assert session.receive_frame()["token"] == "Let me see. "
    session.socket.break_connection()
    wait_until(lambda: not session.socket.client.connected)

    model_may_continue.set()

    assert session.receive_answer() == "At nine."
    assert call_record.transcript[1:] == ["caller: When?", "agent: At nine."]
    session.hang_up()


def test_a_call_that_needs_no_websocket_any_more_ends_it(
    relay_url: str, call: TwilioCall, call_record: CallRecord, acme: Tenant
) -> None:
    socket = open_socket(relay_url, call)
    _lose_connection(socket)
    transfer = CallTransfer("sales", "+14155550188", 20, "return", "dialling", clock.now())
    with tenant_session(acme.ref, database=app_services().database) as session:
        record.update_call(
            session,
            call_record.call["id"],
            status="transferring",
            transfer=transfer.as_dict(),
        )
    assert call.twiml is not None

    next_socket = open_twilio_socket(relay_url, call.twiml.find("ConversationRelay"), call.sid)

    assert next_socket.receive_end() == "done"


def test_an_unnoticed_lost_connection_stores_no_silence(
    relay_url: str,
    call: TwilioCall,
    call_record: CallRecord,
    acme: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voice_websockets, "REPLACEMENT_TIMEOUT_S", 0.0)
    [profile] = acme.get("/ai-profiles").json
    acme.patch(f"/ai-profiles/{profile['id']}", {"silence_seconds": 1})
    lost_socket = open_socket(relay_url, call)
    assert call.twiml is not None

    next_socket = open_twilio_socket(relay_url, call.twiml.find("ConversationRelay"), call.sid)

    assert lost_socket.receive_close_code() == NORMAL_CLOSURE
    assert next_socket.receive_answer()  # the only one that notices the silence
    next_socket.close()
    wait_until(lambda: count_slots() == 0)
    assert len(call_record.transcript) == 2


def test_a_new_connection_waits_until_the_process_of_the_lost_one_has_finished(
    relay_url: str,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script_model(["At nine."])
    new_connection_waits, is_open = Event(), voice_websockets._is_open
    store = conversation.Conversation._store_utterance

    def notice_waiting(slot: UUID, *, services: Services) -> bool:
        new_connection_waits.set()
        return is_open(slot, services=services)

    def store_later(self: conversation.Conversation, text: str) -> None:
        new_connection_waits.wait(20)
        store(self, text)

    monkeypatch.setattr(voice_websockets, "REPLACEMENT_TIMEOUT_S", 20.0)
    monkeypatch.setattr(voice_websockets, "_is_open", notice_waiting)
    monkeypatch.setattr(conversation.Conversation, "_store_utterance", store_later)
    monkeypatch.setattr(conversation.Conversation, "_should_stop", _stop_first_connection)
    session = open_session(relay_url, call)
    session.send("prompt", voicePrompt="When?", last=True)
    session.socket.wait_for_drop()

    session.reconnect()

    assert session.receive_answer() == "At nine."
    wait_until(lambda: len(call_record.transcript) == 3)
    session.hang_up()


def _stop_first_connection(self: conversation.Conversation) -> bool:
    """Stop the first connection as a draining process does, once a frame has arrived."""
    if self._admission.is_reconnected:
        return False
    wait_until(lambda: self._connection._ws.input_buffer)
    return True


def test_only_one_of_two_connections_replaces_the_lost_one(
    relay_url: str,
    call: TwilioCall,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script_model(["At nine."])
    socket = open_socket(relay_url, call)
    _lose_connection(socket)
    assert call.twiml is not None
    relay = call.twiml.find("ConversationRelay")
    both_have_a_slot, replace_slot = Barrier(2), voice_websockets._replace_slot

    def replace_at_the_same_time(services: Services, old_slot: UUID) -> UUID:
        slot = replace_slot(services, old_slot)
        both_have_a_slot.wait(20)
        return slot

    monkeypatch.setattr(voice_websockets, "_replace_slot", replace_at_the_same_time)

    sockets = [open_twilio_socket(relay_url, relay, call.sid) for _ in range(2)]

    results = run_concurrently([partial(_say_or_code, new_socket) for new_socket in sockets])
    assert sorted(map(str, results)) == [str(POLICY_VIOLATION), "At nine."]
    wait_until(lambda: count_slots() == 1)
    for new_socket in sockets:
        new_socket.close()


def _say_or_code(socket: CarrierWebSocket) -> Any:
    """Return the answer to an utterance, or the close code of a rejected connection."""
    try:
        return socket.say("When?")
    except ConnectionClosed:
        return int(socket.client.close_reason)


def test_utterances_of_a_replaced_connection_are_not_answered(
    relay_url: str,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voice_websockets, "REPLACEMENT_TIMEOUT_S", 0.0)
    script_model(["At nine."])
    lost_socket = open_socket(relay_url, call)
    assert call.twiml is not None
    socket = open_twilio_socket(relay_url, call.twiml.find("ConversationRelay"), call.sid)
    assert socket.say("When?") == "At nine."
    assert count_slots() == 1

    lost_socket.send("prompt", voicePrompt="And on Sundays?", last=True)

    assert lost_socket.receive_close_code() == NORMAL_CLOSURE
    socket.close()
    wait_until(lambda: count_slots() == 0)
    assert len(call_record.transcript) == 3


def test_the_websocket_after_another_one_does_not_open_with_the_earlier_token(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    first = open_socket(relay_url, call)
    first.say("When?")
    assert call.twiml is not None
    first_relay = call.twiml.find("ConversationRelay")
    _lose_connection(first)
    second = open_socket(relay_url, call, call.end_relay(None))

    socket = open_twilio_socket(relay_url, first_relay, call.sid)

    assert socket.receive_close_code() == POLICY_VIOLATION
    second.close()


def test_an_ended_call_is_not_connected_again(relay_url: str, call: TwilioCall) -> None:
    session = open_session(relay_url, call)
    _lose_connection(session.socket)
    call.hang_up()

    session.reconnect()

    assert session.socket.receive_close_code() == POLICY_VIOLATION
