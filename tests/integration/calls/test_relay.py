"""Calls that speak through a socket: who gets one, what is said through it, and how it ends."""

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

Says = Callable[..., SequenceModel]
MOST = 2


@pytest.fixture(autouse=True)
def fast_speech(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits for words that no telephone speaks."""
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 10_000)
    monkeypatch.setattr(conversation, "KEY_GAP_S", 0.1)
    yield
    draining.stop_draining()


@pytest.fixture(autouse=True)
def relay_url(app: Flask) -> Iterator[str]:
    """Where the product's sockets are."""
    with run_relay() as url:
        yield url
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[ConnectedTwilio]:
    """Twilio is the deployment's carrier, and there are a few slots."""
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=MOST))
    with connected_twilio() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made


@pytest.fixture
def number(acme: Tenant, twilio: ConnectedTwilio) -> str:
    acme.profile(
        greeting="Acme here.",
        tools=["end_call", "transfer"],
        transfer_targets={"sales": {"number": fresh_number(), "description": "buys"}},
        end_phrases=["goodbye"],
    )
    return str(acme.number(provider_type="twilio")["did_number"])


@pytest.fixture
def call(anonymous: Api, number: str) -> TwilioCall:
    return TwilioCall(anonymous, number)


def opened(at: str, call: TwilioCall, document: TwimlDocument | None = None) -> CarrierWebSocket:
    """The socket of a call that rings, or that goes on as this document says."""
    told = document or call.ring()
    socket = open_twilio_socket(at, told.find("ConversationRelay"), call.sid)
    wait_until(lambda: slots_taken(opened=True))
    return socket


def slots_taken(*, opened: bool = False) -> int:
    counted = "SELECT count(*) FROM public.relay_slots WHERE opened OR NOT :opened"
    with admin_db.public_session() as session:
        return int(session.scalar(text(counted), {"opened": opened}) or 0)


# --- Who gets one ------------------------------------------------------------------------------


def test_a_caller_is_greeted_as_his_socket_opens_and_consent_comes_before_the_tape(
    acme: Tenant, anonymous: Api, twilio: ConnectedTwilio, number: str
) -> None:
    profile = acme.profile(
        greeting="Hello.", recording=True, consent_sentence="We record.", voice="Polly.Amy"
    )
    taped = acme.number(provider_type="twilio", ai_profile_id=profile["id"])["did_number"]

    plain = TwilioCall(anonymous, number).ring()
    recorded = TwilioCall(anonymous, taped).ring()

    assert plain.verbs == ["Connect"]
    assert plain.find("ConversationRelay").get("welcomeGreeting") == "Acme here."
    assert recorded.verbs == ["Say", "Start", "Connect"]
    relay = recorded.find("ConversationRelay")
    assert (recorded.spoken_text, relay.get("welcomeGreeting")) == ("We record.", "Hello.")
    assert (relay.get("ttsProvider"), relay.get("voice")) == ("Amazon", "Amy")


def test_without_slots_every_turn_is_a_request(call: TwilioCall) -> None:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=0))

    assert call.ring().verbs == ["Gather"]
    assert slots_taken() == 0


def test_who_finds_no_slot_is_served_by_requests_until_one_is_free(
    anonymous: Api, relay_url: str, number: str
) -> None:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=1))
    first, second, third = [TwilioCall(anonymous, number) for _ in range(3)]
    socket = opened(relay_url, first)
    assert second.ring().verbs == ["Gather"]

    socket.close()
    first.hang_up()

    wait_until(lambda: slots_taken() == 0)
    assert third.ring().verbs == ["Connect"]


def test_a_database_that_gives_no_slot_still_serves_the_caller(
    call: TwilioCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise db.DatabaseUnavailable

    monkeypatch.setattr(
        "vca.tenant.calls.carrier_webhooks.voice_websockets.public_connection", away
    )

    assert call.ring().verbs == ["Gather"]


def test_whom_we_call_speaks_through_a_socket_too(
    anonymous: Api,
    relay_url: str,
    acme: Tenant,
    twilio: ConnectedTwilio,
    world: Factory,
    number: str,
    script_model: Says,
) -> None:
    script_model(["At nine."])
    [phone] = acme.get("/phone-numbers").json
    callee = fresh_number()
    twilio.account.add_number(number)
    acme.post("/calls", {"to": callee, "from_phone_number_id": phone["id"]})
    world.run_jobs(acme)
    [form] = twilio.requests_to("POST", "Calls.json")
    [placed] = twilio.account.calls
    call = TwilioCall(anonymous, number, sid=placed)

    said = outbound_form(placed, to=callee, caller=number)
    greeted = call.deliver(signed_request(ACCOUNT_LOGIN, form["Url"][0], said))

    assert greeted.verbs == ["Connect"]
    socket = opened(relay_url, call, greeted)
    assert socket.say("When do you open?") == "At nine."
    socket.close()


# --- What is said ------------------------------------------------------------------------------


def test_each_clause_is_said_as_it_comes(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: Says
) -> None:
    thought = Event()
    script_model(["Let me see. ", thought, "At nine."])
    socket = opened(relay_url, call)

    socket.send("prompt", voicePrompt="When do you open?", last=True)
    first = socket.receive_frame()
    thought.set()

    assert (first["token"], first["last"]) == ("Let me see. ", False)
    assert socket.receive_answer() == "At nine."
    wait_until(lambda: len(call_record.transcript) == 3)
    assert call_record.transcript[2] == "agent: Let me see. At nine."
    socket.close()


def test_only_the_whole_of_what_is_said_is_answered(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: Says
) -> None:
    model = script_model(["At nine."])
    socket = opened(relay_url, call)

    for words in ("When", "When do", "When do you"):
        socket.send("prompt", voicePrompt=words, last=False)

    assert socket.say("When do you open?") == "At nine."
    assert len(model.requests) == 1
    socket.close()


def test_who_breaks_in_is_answered_and_the_model_knows_what_he_had_heard(
    relay_url: str,
    call: TwilioCall,
    call_record: CallRecord,
    script_model: Says,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thought, looks = Event(), Conversation._barge_in_frame

    def looks_late(self: Conversation, speaks: bool) -> Any:
        """After both of his frames have come, however busy the machine is."""
        if speaks:
            wait_until(lambda: len(self._connection._ws.input_buffer) == 2)
            monkeypatch.setattr(Conversation, "_barge_in_frame", looks)
        return looks(self, speaks)

    monkeypatch.setattr(Conversation, "_barge_in_frame", looks_late)
    model = script_model(["We open at nine. ", thought, "And close at six."], ["Since 1999."])
    socket = opened(relay_url, call)
    socket.send("prompt", voicePrompt="When do you open?", last=True)
    assert socket.receive_frame()["token"] == "We open at nine. "

    socket.send("interrupt", utteranceUntilInterrupt="We open at", durationUntilInterruptMs=400)
    socket.send("prompt", voicePrompt="Since when?", last=True)
    thought.set()

    assert socket.receive_answer() == ""  # the end of what was cut off
    assert socket.receive_answer() == "Since 1999."
    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.turns[2]["heard_text"] == "We open at"
    assert model.closed_count >= 1
    socket.close()


def test_who_goes_on_while_the_agent_thinks_hears_one_answer(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: Says
) -> None:
    thought = Event()
    script_model([thought, "At nine."], ["On Sundays at ten."])
    socket = opened(relay_url, call)

    socket.send("prompt", voicePrompt="When do you open?", last=True)
    socket.send("prompt", voicePrompt="On Sundays, I mean.", last=True)
    wait_until(lambda: "caller: When do you open?" in call_record.transcript)
    thought.set()

    assert socket.receive_answer() == "On Sundays at ten."
    wait_until(lambda: len(call_record.transcript) == 5)
    assert call_record.turns[2]["heard_text"] == ""
    socket.close()


def test_who_breaks_in_on_the_last_words_cuts_them_on_record(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: Says
) -> None:
    script_model(["We open at nine every day."])
    socket = opened(relay_url, call)
    socket.say("When?")

    socket.send("interrupt", utteranceUntilInterrupt="We open at nine")

    wait_until(lambda: call_record.turns[2]["heard_text"] == "We open at nine")
    socket.close()


def test_frames_that_mean_nothing_are_passed_over(
    relay_url: str, call: TwilioCall, script_model: Says
) -> None:
    script_model(["At nine."])
    socket = opened(relay_url, call)

    socket.send("info", name="tokensPlayed", value="Acme here.")
    socket.send("prompt", voicePrompt=7)
    socket.send("dtmf", digit="A")
    socket.send("interrupt")
    socket.client.send('{"type": ["prompt"]}')
    socket.client.send("{}")

    assert socket.say("When?") == "At nine."
    socket.close()


# --- How it ends -------------------------------------------------------------------------------


def test_who_hangs_up_frees_the_slot(
    relay_url: str, call: TwilioCall, call_record: CallRecord
) -> None:
    socket = opened(relay_url, call)
    assert slots_taken() == 1

    socket.close()
    call.hang_up()

    wait_until(lambda: slots_taken() == 0)
    assert call_record.end_state == ("completed", "caller_hangup")


def test_what_follows_the_socket_is_told_as_often_as_it_is_asked(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: Says
) -> None:
    script_model(["I connect you.", transfer("sales")])
    socket = opened(relay_url, call)
    assert socket.say("Sales, please.") == "I connect you."
    handoff = socket.receive_end()
    call.copies = 3

    dial = call.end_relay(handoff)

    assert handoff == "done"
    assert dial.verbs == ["Dial"]
    assert call_record.call["status"] == "transferring"


def test_a_model_that_fails_ends_in_a_sentence(
    relay_url: str, call: TwilioCall, call_record: CallRecord
) -> None:
    use_model(StepModel(ModelError("no", failure="unavailable")))
    socket = opened(relay_url, call)

    said = socket.say("When?")

    assert said
    assert call.end_relay(socket.receive_end()).verbs == ["Hangup"]
    assert call_record.end_state == ("completed", "model_error")


def test_with_the_database_away_the_caller_hears_a_sentence(
    app: Flask, relay_url: str, call: TwilioCall
) -> None:
    there = db.current_database()
    socket = opened(relay_url, call)
    db.set_current_database(Database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    said = socket.say("When?")

    assert "call again" in said
    assert socket.receive_end() == "failed"
    db.set_current_database(there)
    assert call.end_relay("failed").verbs == ["Hangup"]


def test_a_carrier_that_fails_goes_on_by_requests(relay_url: str, call: TwilioCall) -> None:
    socket = opened(relay_url, call)

    socket.send("error", description="Invalid message received")

    assert call.end_relay(socket.receive_end()).verbs == ["Gather"]


def test_a_socket_that_never_came_is_not_tried_again_and_the_caller_is_greeted(
    call: TwilioCall, call_record: CallRecord
) -> None:
    call.ring()

    instead = call.end_relay(None)

    assert instead.verbs == ["Gather"]
    assert instead.spoken_text == "Acme here."
    assert call_record.transcript == ["agent: Acme here."]


def test_a_socket_that_broke_is_followed_by_another_that_says_the_last_words_again(
    relay_url: str, call: TwilioCall, script_model: Says
) -> None:
    script_model(["At nine."])
    socket = opened(relay_url, call)
    socket.say("When?")
    socket.close()

    again = call.end_relay(None)

    assert again.find("ConversationRelay").get("welcomeGreeting") == "At nine."


def test_what_was_said_to_a_process_that_died_is_answered(
    call: TwilioCall, call_record: CallRecord, script_model: Says
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

    again = call.end_relay(None)

    assert again.find("ConversationRelay").get("welcomeGreeting") == "At nine."
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]


def test_who_hangs_up_is_asked_nothing_when_the_socket_has_ended(call: TwilioCall) -> None:
    call.ring()

    assert call.end_relay(None, status="completed").verbs == []


# --- A process that is to end ------------------------------------------------------------------


def test_a_process_that_is_to_end_hands_its_calls_on_where_nobody_speaks(
    relay_url: str, call: TwilioCall, call_record: CallRecord, script_model: Says
) -> None:
    script_model(["At nine."])
    socket = opened(relay_url, call)
    socket.say("When?")

    draining.start_draining()

    handoff = socket.receive_end()
    draining.stop_draining()
    wait_until(lambda: slots_taken() == 0)
    again = call.end_relay(handoff)
    assert again.verbs == ["Connect"]
    assert again.find("ConversationRelay").get("welcomeGreeting") is None
    next_socket = opened(relay_url, call, again)
    assert next_socket.say("And on Sundays?") == "At nine."
    wait_until(lambda: len(call_record.transcript) == 5)
    next_socket.close()


def test_nobody_is_cut_off_by_a_process_that_is_to_end(
    relay_url: str, call: TwilioCall, script_model: Says
) -> None:
    thought = Event()
    script_model(["Let me see. ", thought, "At nine."])
    socket = opened(relay_url, call)
    socket.send("prompt", voicePrompt="When?", last=True)
    assert socket.receive_frame()["token"] == "Let me see. "

    draining.start_draining()
    thought.set()

    assert socket.receive_answer() == "At nine."
    assert socket.receive_end() == "resume"


def test_a_process_that_has_to_end_does_not_wait_for_ever(
    relay_url: str, call: TwilioCall, script_model: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_model(["A very long story."])
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 0.01)
    socket = opened(relay_url, call)
    socket.say("When?")
    monkeypatch.setattr(draining, "MAX_DRAIN_S", 0.0)

    draining.start_draining()

    assert socket.receive_end() == "resume"


def test_with_no_other_slot_the_call_goes_on_by_requests_and_nothing_is_said_again(
    relay_url: str, call: TwilioCall
) -> None:
    socket = opened(relay_url, call)
    draining.start_draining()
    handoff = socket.receive_end()
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=0))

    again = call.end_relay(handoff)

    assert (again.verbs, again.spoken_text) == (["Gather"], "")


# --- Frames that are none ----------------------------------------------------------------------


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
    ids=["text", "list", "string", "bytes", "twice", "large"],
)
def test_what_is_no_frame_ends_the_socket(
    relay_url: str, call: TwilioCall, data: str | bytes, code: int
) -> None:
    socket = opened(relay_url, call)

    socket.client.send(data)

    assert socket.receive_close_code() == code
    wait_until(lambda: slots_taken() == 0)


def test_a_model_that_never_answers_does_not_keep_the_caller_waiting(
    relay_url: str, call: TwilioCall, call_record: CallRecord
) -> None:
    use_model(StepModel(hanging_step()), first_s=0.2, whole_s=0.4)
    socket = opened(relay_url, call)

    assert socket.say("When?")
    socket.receive_end()
    assert call_record.end_state[1] == "model_error"
