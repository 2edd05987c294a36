"""Calls that speak through a socket: who gets one, what is said through it, and how it ends."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from tests.carriers.players import twilio_socket
from tests.carriers.sockets import CarrierSocket, serving
from tests.carriers.twilio.line import TwilioCall
from tests.carriers.twilio.rig import OURS, Rig, rig
from tests.carriers.twilio.twiml import Document
from tests.carriers.twilio.webhooks import outbound, signed
from tests.doubles.hostile_model import transfer
from tests.doubles.models import Parrot, Rehearsed, hang
from tests.flows.conftest import Record, use
from tests.support import owner
from tests.support.api import Api
from tests.support.processes import until
from tests.support.world import Tenant, World, fresh_number
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

Says = Callable[..., Rehearsed]
MOST = 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits for words that no telephone speaks."""
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 10_000)
    monkeypatch.setattr(conversation, "KEY_GAP_S", 0.1)
    yield
    draining.stop_draining()


@pytest.fixture(autouse=True)
def at(app: Flask) -> Iterator[str]:
    """Where the product's sockets are."""
    with serving() as url:
        yield url
    with owner.public() as session:
        session.execute(text("DELETE FROM public.relay_slots"))


@pytest.fixture
def twilio(app: Flask, settings: Settings) -> Iterator[Rig]:
    """Twilio is the deployment's carrier, and there are a few slots."""
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=MOST))
    with rig() as made:
        providers.set_current_carriers(providers.Carriers(settings)).register(made.adapter)
        yield made


@pytest.fixture
def number(acme: Tenant, twilio: Rig) -> str:
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


def opened(at: str, call: TwilioCall, document: Document | None = None) -> CarrierSocket:
    """The socket of a call that rings, or that goes on as this document says."""
    told = document or call.ring()
    socket = twilio_socket(at, told.find("ConversationRelay"), call.sid)
    until(lambda: slots_taken(opened=True))
    return socket


def slots_taken(*, opened: bool = False) -> int:
    counted = "SELECT count(*) FROM public.relay_slots WHERE opened OR NOT :opened"
    with owner.public() as session:
        return int(session.scalar(text(counted), {"opened": opened}) or 0)


# --- Who gets one ------------------------------------------------------------------------------


def test_a_caller_is_greeted_as_his_socket_opens_and_consent_comes_before_the_tape(
    acme: Tenant, anonymous: Api, twilio: Rig, number: str
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
    assert (recorded.words, relay.get("welcomeGreeting")) == ("We record.", "Hello.")
    assert (relay.get("ttsProvider"), relay.get("voice")) == ("Amazon", "Amy")


def test_without_slots_every_turn_is_a_request(call: TwilioCall) -> None:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=0))

    assert call.ring().verbs == ["Gather"]
    assert slots_taken() == 0


def test_who_finds_no_slot_is_served_by_requests_until_one_is_free(
    anonymous: Api, at: str, number: str
) -> None:
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=1))
    first, second, third = [TwilioCall(anonymous, number) for _ in range(3)]
    socket = opened(at, first)
    assert second.ring().verbs == ["Gather"]

    socket.close()
    first.hang_up()

    until(lambda: slots_taken() == 0)
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
    anonymous: Api, at: str, acme: Tenant, twilio: Rig, world: World, number: str, says: Says
) -> None:
    says(["At nine."])
    [phone] = acme.get("/phone-numbers").json
    callee = fresh_number()
    twilio.account.own(number)
    acme.post("/calls", {"to": callee, "from_phone_number_id": phone["id"]})
    world.work(acme)
    [form] = twilio.asked("POST", "Calls.json")
    [placed] = twilio.account.calls
    call = TwilioCall(anonymous, number, sid=placed)

    said = outbound(placed, to=callee, caller=number)
    greeted = call.deliver(signed(OURS, form["Url"][0], said))

    assert greeted.verbs == ["Connect"]
    socket = opened(at, call, greeted)
    assert socket.say("When do you open?") == "At nine."
    socket.close()


# --- What is said ------------------------------------------------------------------------------


def test_each_clause_is_said_as_it_comes(
    at: str, call: TwilioCall, record: Record, says: Says
) -> None:
    thought = Event()
    says(["Let me see. ", thought, "At nine."])
    socket = opened(at, call)

    socket.tell("prompt", voicePrompt="When do you open?", last=True)
    first = socket.hear()
    thought.set()

    assert (first["token"], first["last"]) == ("Let me see. ", False)
    assert socket.answer() == "At nine."
    until(lambda: len(record.said) == 3)
    assert record.said[2] == "agent: Let me see. At nine."
    socket.close()


def test_only_the_whole_of_what_is_said_is_answered(
    at: str, call: TwilioCall, record: Record, says: Says
) -> None:
    model = says(["At nine."])
    socket = opened(at, call)

    for words in ("When", "When do", "When do you"):
        socket.tell("prompt", voicePrompt=words, last=False)

    assert socket.say("When do you open?") == "At nine."
    assert len(model.asked) == 1
    socket.close()


def test_who_breaks_in_is_answered_and_the_model_knows_what_he_had_heard(
    at: str, call: TwilioCall, record: Record, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    thought, looks = Event(), Conversation._barge_in_frame

    def looks_late(self: Conversation, speaks: bool) -> Any:
        """After both of his frames have come, however busy the machine is."""
        if speaks:
            until(lambda: len(self._connection._ws.input_buffer) == 2)
            monkeypatch.setattr(Conversation, "_barge_in_frame", looks)
        return looks(self, speaks)

    monkeypatch.setattr(Conversation, "_barge_in_frame", looks_late)
    model = says(["We open at nine. ", thought, "And close at six."], ["Since 1999."])
    socket = opened(at, call)
    socket.tell("prompt", voicePrompt="When do you open?", last=True)
    assert socket.hear()["token"] == "We open at nine. "

    socket.tell("interrupt", utteranceUntilInterrupt="We open at", durationUntilInterruptMs=400)
    socket.tell("prompt", voicePrompt="Since when?", last=True)
    thought.set()

    assert socket.answer() == ""  # the end of what was cut off
    assert socket.answer() == "Since 1999."
    until(lambda: len(record.said) == 5)
    assert record.turns[2]["heard_text"] == "We open at"
    assert model.closed >= 1
    socket.close()


def test_who_goes_on_while_the_agent_thinks_hears_one_answer(
    at: str, call: TwilioCall, record: Record, says: Says
) -> None:
    thought = Event()
    says([thought, "At nine."], ["On Sundays at ten."])
    socket = opened(at, call)

    socket.tell("prompt", voicePrompt="When do you open?", last=True)
    socket.tell("prompt", voicePrompt="On Sundays, I mean.", last=True)
    until(lambda: "caller: When do you open?" in record.said)
    thought.set()

    assert socket.answer() == "On Sundays at ten."
    until(lambda: len(record.said) == 5)
    assert record.turns[2]["heard_text"] == ""
    socket.close()


def test_who_breaks_in_on_the_last_words_cuts_them_on_record(
    at: str, call: TwilioCall, record: Record, says: Says
) -> None:
    says(["We open at nine every day."])
    socket = opened(at, call)
    socket.say("When?")

    socket.tell("interrupt", utteranceUntilInterrupt="We open at nine")

    until(lambda: record.turns[2]["heard_text"] == "We open at nine")
    socket.close()


def test_frames_that_mean_nothing_are_passed_over(at: str, call: TwilioCall, says: Says) -> None:
    says(["At nine."])
    socket = opened(at, call)

    socket.tell("info", name="tokensPlayed", value="Acme here.")
    socket.tell("prompt", voicePrompt=7)
    socket.tell("dtmf", digit="A")
    socket.tell("interrupt")
    socket.client.send('{"type": ["prompt"]}')
    socket.client.send("{}")

    assert socket.say("When?") == "At nine."
    socket.close()


# --- How it ends -------------------------------------------------------------------------------


def test_who_hangs_up_frees_the_slot(at: str, call: TwilioCall, record: Record) -> None:
    socket = opened(at, call)
    assert slots_taken() == 1

    socket.close()
    call.hang_up()

    until(lambda: slots_taken() == 0)
    assert record.end == ("completed", "caller_hangup")


def test_what_follows_the_socket_is_told_as_often_as_it_is_asked(
    at: str, call: TwilioCall, record: Record, says: Says
) -> None:
    says(["I connect you.", transfer("sales")])
    socket = opened(at, call)
    assert socket.say("Sales, please.") == "I connect you."
    handoff = socket.ended()
    call.copies = 3

    dial = call.relay_ended(handoff)

    assert handoff == "done"
    assert dial.verbs == ["Dial"]
    assert record.call["status"] == "transferring"


def test_a_model_that_fails_ends_in_a_sentence(at: str, call: TwilioCall, record: Record) -> None:
    use(Parrot(ModelError("no", failure="unavailable")))
    socket = opened(at, call)

    said = socket.say("When?")

    assert said
    assert call.relay_ended(socket.ended()).verbs == ["Hangup"]
    assert record.end == ("completed", "model_error")


def test_with_the_database_away_the_caller_hears_a_sentence(
    app: Flask, at: str, call: TwilioCall
) -> None:
    there = db.current_database()
    socket = opened(at, call)
    db.set_current_database(Database("postgresql://nobody@/nothing?host=/nowhere&port=1"))

    said = socket.say("When?")

    assert "call again" in said
    assert socket.ended() == "failed"
    db.set_current_database(there)
    assert call.relay_ended("failed").verbs == ["Hangup"]


def test_a_carrier_that_fails_goes_on_by_requests(at: str, call: TwilioCall) -> None:
    socket = opened(at, call)

    socket.tell("error", description="Invalid message received")

    assert call.relay_ended(socket.ended()).verbs == ["Gather"]


def test_a_socket_that_never_came_is_not_tried_again_and_the_caller_is_greeted(
    call: TwilioCall, record: Record
) -> None:
    call.ring()

    instead = call.relay_ended(None)

    assert instead.verbs == ["Gather"]
    assert instead.words == "Acme here."
    assert record.said == ["agent: Acme here."]


def test_a_socket_that_broke_is_followed_by_another_that_says_the_last_words_again(
    at: str, call: TwilioCall, says: Says
) -> None:
    says(["At nine."])
    socket = opened(at, call)
    socket.say("When?")
    socket.close()

    again = call.relay_ended(None)

    assert again.find("ConversationRelay").get("welcomeGreeting") == "At nine."


def test_what_was_said_to_a_process_that_died_is_answered(
    call: TwilioCall, record: Record, says: Says
) -> None:
    says(["At nine."])
    call.ring()
    with tenant_session(record.tenant.ref) as session:
        records.insert_turn(
            session, record.call["id"], sequence=2, speaker="caller", text="When?", at=clock.now()
        )

    again = call.relay_ended(None)

    assert again.find("ConversationRelay").get("welcomeGreeting") == "At nine."
    assert record.said == ["agent: Acme here.", "caller: When?", "agent: At nine."]


def test_who_hangs_up_is_asked_nothing_when_the_socket_has_ended(call: TwilioCall) -> None:
    call.ring()

    assert call.relay_ended(None, status="completed").verbs == []


# --- A process that is to end ------------------------------------------------------------------


def test_a_process_that_is_to_end_hands_its_calls_on_where_nobody_speaks(
    at: str, call: TwilioCall, record: Record, says: Says
) -> None:
    says(["At nine."])
    socket = opened(at, call)
    socket.say("When?")

    draining.start_draining()

    handoff = socket.ended()
    draining.stop_draining()
    until(lambda: slots_taken() == 0)
    again = call.relay_ended(handoff)
    assert again.verbs == ["Connect"]
    assert again.find("ConversationRelay").get("welcomeGreeting") is None
    next_socket = opened(at, call, again)
    assert next_socket.say("And on Sundays?") == "At nine."
    until(lambda: len(record.said) == 5)
    next_socket.close()


def test_nobody_is_cut_off_by_a_process_that_is_to_end(
    at: str, call: TwilioCall, says: Says
) -> None:
    thought = Event()
    says(["Let me see. ", thought, "At nine."])
    socket = opened(at, call)
    socket.tell("prompt", voicePrompt="When?", last=True)
    assert socket.hear()["token"] == "Let me see. "

    draining.start_draining()
    thought.set()

    assert socket.answer() == "At nine."
    assert socket.ended() == "resume"


def test_a_process_that_has_to_end_does_not_wait_for_ever(
    at: str, call: TwilioCall, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(["A very long story."])
    monkeypatch.setattr(conversation, "CHARACTERS_PER_SECOND", 0.01)
    socket = opened(at, call)
    socket.say("When?")
    monkeypatch.setattr(draining, "MAX_DRAIN_S", 0.0)

    draining.start_draining()

    assert socket.ended() == "resume"


def test_with_no_other_slot_the_call_goes_on_by_requests_and_nothing_is_said_again(
    at: str, call: TwilioCall
) -> None:
    socket = opened(at, call)
    draining.start_draining()
    handoff = socket.ended()
    call_services.set_current_services(replace(call_services.current_services(), relay_slots=0))

    again = call.relay_ended(handoff)

    assert (again.verbs, again.words) == (["Gather"], "")


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
    at: str, call: TwilioCall, data: str | bytes, code: int
) -> None:
    socket = opened(at, call)

    socket.client.send(data)

    assert socket.closed() == code
    until(lambda: slots_taken() == 0)


def test_a_model_that_never_answers_does_not_keep_the_caller_waiting(
    at: str, call: TwilioCall, record: Record
) -> None:
    use(Parrot(hang()), first_s=0.2, whole_s=0.4)
    socket = opened(at, call)

    assert socket.say("When?")
    socket.ended()
    assert record.end[1] == "model_error"
