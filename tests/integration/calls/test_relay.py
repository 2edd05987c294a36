"""Calls over a voice WebSocket: how they get one, the turns over it, and how it ends."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from tests.fakes.carriers.call_scripts import open_twilio_socket
from tests.fakes.carriers.carrier_websocket import CarrierWebSocket, run_relay
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import (
    ACCOUNT_LOGIN,
    ConnectedTwilio,
    connected_twilio,
)
from tests.fakes.carriers.twilio.twiml import TwimlDocument
from tests.fakes.carriers.twilio.webhooks import outbound_form, signed_request
from tests.fakes.hostile_model import transfer
from tests.fakes.models import SequenceModel, StepModel, hanging_step
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support import admin_db
from tests.support.api import Api
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.processes import wait_until
from vca.conversation.llm import ModelError
from vca.kit import clock, db
from vca.kit.db import Database
from vca.servers.relay import conversation, draining
from vca.servers.relay.conversation import Conversation
from vca.settings import Settings
from vca.telephony import providers
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core import call_services
from vca.tenant.calls.core import record as records

ScriptModel = Callable[..., SequenceModel]
SLOT_COUNT = 2


@pytest.fixture(autouse=True)
def fast_speech(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the server assume fast speech, so that tests do not wait for it; end a draining."""
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 10_000)
    monkeypatch.setattr(conversation, "KEY_GAP_S", 0.1)
    yield
    draining.stop_draining()


@pytest.fixture(autouse=True)
def relay_url(app: Flask) -> Iterator[str]:
    """Run the voice WebSocket server and return its URL."""
    with run_relay() as url:
        yield url
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    """Install Twilio as the deployment's carrier, with SLOT_COUNT slots, and return it."""
    call_services.set_current_services(
        replace(call_services.current_services(), relay_slots=SLOT_COUNT)
    )
    with connected_twilio() as twilio:
        providers.set_current_carriers(providers.Carriers(settings)).register(twilio.adapter)
        yield twilio


@pytest.fixture
def number(acme: Tenant, twilio: ConnectedTwilio) -> str:
    """Return a Twilio number of acme that an agent answers."""
    acme.profile(
        greeting="Acme here.",
        tools=["end_call", "transfer"],
        transfer_targets={"sales": {"number": fresh_number(), "description": "buys"}},
        end_phrases=["goodbye"],
    )
    return str(acme.number(provider_type="twilio")["did_number"])


@pytest.fixture
def call(anonymous: Api, number: str) -> TwilioCall:
    """Return a call to the number that has not rung yet."""
    return TwilioCall(anonymous, number)


def open_socket(
    url: str, call: TwilioCall, document: TwimlDocument | None = None
) -> CarrierWebSocket:
    """Open the WebSocket that the document requests; without one, ring first."""
    twiml = document or call.ring()
    socket = open_twilio_socket(url, twiml.find("ConversationRelay"), call.sid)
    wait_until(lambda: count_slots(only_open=True))
    return socket


def count_slots(*, only_open: bool = False) -> int:
    """Return the number of leased slots, or of those whose WebSocket is open."""
    query = text("SELECT count(*) FROM public.relay_slots WHERE opened OR NOT :only_open")
    with admin_db.public_session() as session:
        return int(session.scalar(query, {"only_open": only_open}) or 0)


# --- Slots and greetings ---


def test_the_websocket_greets_the_caller_after_consent_and_recording_start(
    acme: Tenant, anonymous: Api, twilio: ConnectedTwilio, number: str
) -> None:
    profile = acme.profile(
        greeting="Hello.", recording=True, consent_sentence="We record.", voice="Polly.Amy"
    )
    recorded_number = acme.number(provider_type="twilio", ai_profile_id=profile["id"])["did_number"]

    twiml = TwilioCall(anonymous, number).ring()
    recorded_twiml = TwilioCall(anonymous, recorded_number).ring()

    assert twiml.verbs == ["Connect"]
    assert twiml.find("ConversationRelay").get("welcomeGreeting") == "Acme here."
    assert recorded_twiml.verbs == ["Say", "Start", "Connect"]
    relay = recorded_twiml.find("ConversationRelay")
    assert (recorded_twiml.spoken_text, relay.get("welcomeGreeting")) == ("We record.", "Hello.")
    assert (relay.get("ttsProvider"), relay.get("voice")) == ("Amazon", "Amy")


def test_without_slots_a_call_uses_http_requests(call: TwilioCall) -> None:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=0))

    assert call.ring().verbs == ["Gather"]
    assert count_slots() == 0


def test_a_call_uses_http_requests_while_no_slot_is_free(
    anonymous: Api, relay_url: str, number: str
) -> None:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=1))
    first, second, third = [TwilioCall(anonymous, number) for _ in range(3)]
    socket = open_socket(relay_url, first)
    assert second.ring().verbs == ["Gather"]

    socket.close()
    first.hang_up()

    wait_until(lambda: count_slots() == 0)
    assert third.ring().verbs == ["Connect"]


def test_a_call_uses_http_requests_when_no_slot_can_be_leased(
    call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unavailable(*_: Any, **__: Any) -> None:
        raise db.DatabaseUnavailable

    monkeypatch.setattr(
        "vca.tenant.calls.carrier_webhooks.voice_websockets.public_connection", raise_unavailable
    )

    assert call.ring().verbs == ["Gather"]


def test_an_outbound_call_uses_a_websocket(
    anonymous: Api,
    relay_url: str,
    acme: Tenant,
    twilio: ConnectedTwilio,
    world: Factory,
    number: str,
    script_model: ScriptModel,
) -> None:
    script_model(["At nine."])
    [phone] = acme.get("/phone-numbers").json
    callee = fresh_number()
    twilio.account.add_number(number)
    acme.post("/calls", {"to": callee, "from_phone_number_id": phone["id"]})
    world.run_jobs(acme)
    [form] = twilio.requests_to("POST", "Calls.json")
    [call_sid] = twilio.account.calls
    call = TwilioCall(anonymous, number, sid=call_sid)

    answer_form = outbound_form(call_sid, to=callee, caller=number)
    twiml = call.deliver(signed_request(ACCOUNT_LOGIN, form["Url"][0], answer_form))

    assert twiml.verbs == ["Connect"]
    socket = open_socket(relay_url, call, twiml)
    assert socket.say("When do you open?") == "At nine."
    socket.close()


# --- Turns ---


def test_each_spoken_chunk_is_sent_as_soon_as_it_is_complete(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model(["Let me see. ", model_may_continue, "At nine."])
    socket = open_socket(relay_url, call)

    socket.send("prompt", voicePrompt="When do you open?", last=True)
    first = socket.receive_frame()
    model_may_continue.set()

    assert (first["token"], first["last"]) == ("Let me see. ", False)
    assert socket.receive_answer() == "At nine."
    wait_until(lambda: len(call_record.transcript) == 3)
    assert call_record.transcript[2] == "agent: Let me see. At nine."
    socket.close()


def test_only_a_complete_utterance_is_answered(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model = script_model(["At nine."])
    socket = open_socket(relay_url, call)

    for partial_utterance in ("When", "When do", "When do you"):
        socket.send("prompt", voicePrompt=partial_utterance, last=False)

    assert socket.say("When do you open?") == "At nine."
    assert len(model.requests) == 1
    socket.close()


def test_a_barge_in_is_answered_and_the_heard_text_is_stored(
    relay_url: str,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model_may_continue, barge_in_frame = Event(), Conversation._barge_in_frame

    def wait_for_both_frames(self: Conversation, speaks: bool) -> Any:
        """Check for a barge-in only after both frames arrived, even on a busy machine."""
        if speaks:
            wait_until(lambda: len(self._connection._ws.input_buffer) == 2)
            monkeypatch.setattr(Conversation, "_barge_in_frame", barge_in_frame)
        return barge_in_frame(self, speaks)

    monkeypatch.setattr(Conversation, "_barge_in_frame", wait_for_both_frames)
    model = script_model(
        ["We open at nine. ", model_may_continue, "And close at six."], ["Since 1999."]
    )
    socket = open_socket(relay_url, call)
    socket.send("prompt", voicePrompt="When do you open?", last=True)
    assert socket.receive_frame()["token"] == "We open at nine. "

    socket.send("interrupt", utteranceUntilInterrupt="We open at", durationUntilInterruptMs=400)
    socket.send("prompt", voicePrompt="Since when?", last=True)
    model_may_continue.set()

    assert socket.receive_answer() == ""  # the end of the interrupted answer
    assert socket.receive_answer() == "Since 1999."
    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.turns[2]["heard_text"] == "We open at"
    assert model.closed_count >= 1
    socket.close()


def test_a_caller_who_continues_before_the_answer_hears_one_answer(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model([model_may_continue, "At nine."], ["On Sundays at ten."])
    socket = open_socket(relay_url, call)

    socket.send("prompt", voicePrompt="When do you open?", last=True)
    socket.send("prompt", voicePrompt="On Sundays, I mean.", last=True)
    wait_until(lambda: "caller: When do you open?" in call_record.transcript)
    model_may_continue.set()

    assert socket.receive_answer() == "On Sundays at ten."
    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.turns[2]["heard_text"] == ""
    socket.close()


def test_a_barge_in_after_the_last_chunk_stores_the_heard_text(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["We open at nine every day."])
    socket = open_socket(relay_url, call)
    socket.say("When?")

    socket.send("interrupt", utteranceUntilInterrupt="We open at nine")

    wait_until(lambda: call_record.turns[2]["heard_text"] == "We open at nine")
    socket.close()


def test_irrelevant_and_incomplete_frames_are_ignored(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    socket = open_socket(relay_url, call)

    socket.send("info", name="tokensPlayed", value="Acme here.")
    socket.send("prompt", voicePrompt=7)
    socket.send("dtmf", digit="A")
    socket.send("interrupt")
    socket.client.send('{"type": ["prompt"]}')
    socket.client.send("{}")

    assert socket.say("When?") == "At nine."
    socket.close()


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
    app: Flask, relay_url: str, call: TwilioCall
) -> None:
    database = db.current_database()
    socket = open_socket(relay_url, call)
    db.set_current_database(Database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    spoken_text = socket.say("When?")

    assert "call again" in spoken_text
    assert socket.receive_end() == "failed"
    db.set_current_database(database)
    assert call.end_relay("failed").verbs == ["Hangup"]


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
    with tenant_session(call_record.tenant.ref) as session:
        records.insert_turn(
            session,
            call_record.call["id"],
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


# --- Draining ---


def test_a_draining_process_hands_over_a_call_in_silence(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: ScriptModel
) -> None:
    script_model(["At nine."])
    socket = open_socket(relay_url, call)
    socket.say("When?")

    draining.start_draining()

    handoff = socket.receive_end()
    draining.stop_draining()
    wait_until(lambda: count_slots() == 0)
    twiml = call.end_relay(handoff)
    assert twiml.verbs == ["Connect"]
    assert twiml.find("ConversationRelay").get("welcomeGreeting") is None
    next_socket = open_socket(relay_url, call, twiml)
    assert next_socket.say("And on Sundays?") == "At nine."
    wait_until(lambda: len(call_record.transcript) == 5)
    next_socket.close()


def test_a_draining_process_finishes_the_current_answer(
    relay_url: str, call: TwilioCall, script_model: ScriptModel
) -> None:
    model_may_continue = Event()
    script_model(["Let me see. ", model_may_continue, "At nine."])
    socket = open_socket(relay_url, call)
    socket.send("prompt", voicePrompt="When?", last=True)
    assert socket.receive_frame()["token"] == "Let me see. "

    draining.start_draining()
    model_may_continue.set()

    assert socket.receive_answer() == "At nine."
    assert socket.receive_end() == "resume"


def test_a_draining_process_stops_waiting_at_its_deadline(
    relay_url: str, call: TwilioCall, script_model: ScriptModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_model(["A very long story."])
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 0.01)
    socket = open_socket(relay_url, call)
    socket.say("When?")
    monkeypatch.setattr(draining, "MAX_DRAIN_S", 0.0)

    draining.start_draining()

    assert socket.receive_end() == "resume"


def test_a_call_handed_over_without_a_free_slot_continues_over_http(
    relay_url: str, call: TwilioCall
) -> None:
    socket = open_socket(relay_url, call)
    draining.start_draining()
    handoff = socket.receive_end()
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=0))

    twiml = call.end_relay(handoff)

    assert (twiml.verbs, twiml.spoken_text) == (["Gather"], "")


# --- Invalid frames ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("not JSON", 1003),
        ("[]", 1003),
        ('"prompt"', 1003),
        (b'{"type": "prompt"}', 1003),
        ('{"type": "prompt", "type": "dtmf"}', 1003),
        ("x" * (64 * 1024 + 1), 1009),
    ],
    ids=["not JSON", "list", "string", "bytes", "duplicate key", "too large"],
)
def test_an_invalid_frame_closes_the_websocket(
    relay_url: str, call: TwilioCall, data: str | bytes, code: int
) -> None:
    socket = open_socket(relay_url, call)

    socket.client.send(data)

    assert socket.receive_close_code() == code
    wait_until(lambda: count_slots() == 0)


def test_a_model_that_never_answers_ends_the_call_in_time(
    relay_url: str, call: TwilioCall, call_record: CallRecord
) -> None:
    use_model(StepModel(hanging_step()), first_s=0.2, whole_s=0.4)
    socket = open_socket(relay_url, call)

    assert socket.say("When?")
    socket.receive_end()
    assert call_record.end_state[1] == "model_error"
