"""A carrier that repeats itself, comes back for more, or is answered by another process."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest

from tests.doubles.models import Parrot, Rehearsed
from tests.flows.conftest import Record, use
from tests.support.carrier_line import CarrierLine, kinds, words
from tests.support.threads import at_once
from tests.support.world import Tenant
from vca.conversation.llm import ModelError
from vca.kit import clock
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.core import record as rows
from vca.tenant.calls.core.call_services import CallState, current_services
from vca.tenant.calls.turns import call_flow

Says = Callable[..., Rehearsed]
FILLER = "One moment, please."


@pytest.fixture
def state(line: CarrierLine, acme: Tenant) -> str:
    """The token of a live call."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"])
    return str(line.ring(acme.number()["did_number"], "call-1")["state"])


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """A caller of little patience, and a model that answers once this is set."""
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    thought = Event()
    use(Parrot(thought, "We open at nine. ", "We close at five."), filler_s=0.05)
    yield thought
    thought.set()


def _heard(state: str, text: str) -> None:
    """A process writes down what the caller said, and dies."""
    ref = current_services().verify_state(state).ref
    with tenant_session(ref.tenant) as session:
        rows.lock_call_context(session, ref.call_id)
        rows.insert_turn(
            session, ref.call_id, sequence=2, speaker="caller", text=text, at=clock.now()
        )


# --- The same again ------------------------------------------------------------------------------


def test_the_same_words_twice_are_one_turn_and_one_question_to_the_model(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    model = says(["At nine."], ["At ten."])

    first, again = (line.say("call-1", state, "When?") for _ in range(2))

    assert first == again
    assert record.said == ["agent: Acme here.", "caller: When?", "agent: At nine."]
    assert len(model.asked) == 1


def test_the_last_words_of_a_call_are_said_again_though_it_is_over(
    line: CarrierLine, record: Record, state: str
) -> None:
    first, again = (line.say("call-1", state, "Goodbye!") for _ in range(2))

    assert first == again
    assert kinds(first) == ["say", "hang_up"]
    assert len(record.turns) == 3


def test_the_same_words_later_in_the_call_are_another_turn(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    says(["One."], ["Two."])

    first = line.say("call-1", state, "Yes.")
    second = line.say("call-1", first["state"], "Yes.")

    assert [words(first), words(second)] == ["One.", "Two."]
    assert len(record.turns) == 5


def test_what_a_process_heard_before_it_died_is_answered_by_the_next(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    model = says(["At nine."])
    _heard(state, "When?")

    answer = line.say("call-1", state, "When?")

    assert words(answer) == "At nine."
    assert record.said == ["agent: Acme here.", "caller: When?", "agent: At nine."]
    assert [message.text for message in model.asked[0].messages] == ["Acme here.", "When?"]


def test_two_turns_at_once_are_both_answered_and_known_when_they_are_repeated(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    model = says(["Yes."])
    said = ["I am Jane.", "My tooth hurts."]

    at_once([partial(line.say, "call-1", state, text) for text in said])
    for text in said:
        assert words(line.say("call-1", state, text)) == "Yes."

    assert len(record.turns) == 5
    assert len(model.asked) == 2


def test_the_same_words_at_once_are_one_turn_with_one_answer(
    line: CarrierLine, record: Record, says: Says, state: str
) -> None:
    says(["Yes."])

    answers = at_once([partial(line.say, "call-1", state, "Hello?")] * 4)

    assert {words(answer) for answer in answers} == {"Yes."}
    assert record.said == ["agent: Acme here.", "caller: Hello?", "agent: Yes."]


# --- More ----------------------------------------------------------------------------------------


def test_a_caller_hears_a_filler_at_once_and_the_rest_when_it_is_there(
    line: CarrierLine, record: Record, slow: Event, state: str
) -> None:
    first = line.say("call-1", state, "When?")
    slow.set()
    rest, again = (line.tell("more", "call-1", first["state"]) for _ in range(2))

    assert kinds(first) == ["say", "come_back"]
    assert words(first) == FILLER
    assert rest == again
    assert kinds(rest) == ["say", "listen"]
    assert words(rest) == "We open at nine. We close at five."
    assert record.said[2] == f"agent: {FILLER} We open at nine. We close at five."


def test_with_nothing_to_say_yet_the_carrier_comes_back_until_there_is(
    line: CarrierLine, record: Record, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    thought = Event()
    use(Parrot(thought, "We open at nine."), filler_s=60)
    monkeypatch.setattr(polled_turn, "_FILLER_AFTER_S", 60)

    nothing = line.say("call-1", state, "When?")
    still = line.tell("more", "call-1", nothing["state"])
    thought.set()
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 10)
    rest = line.tell("more", "call-1", still["state"])

    assert kinds(nothing) == kinds(still) == ["come_back"]
    assert kinds(rest) == ["say", "listen"]
    assert words(rest) == "We open at nine."
    assert record.said[1:] == ["caller: When?", "agent: We open at nine."]


def test_a_rest_that_its_process_lost_is_answered_anew(
    line: CarrierLine,
    record: Record,
    says: Says,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    says(["At nine."])
    _heard(state, "When?")
    ref, now = current_services().verify_state(state).ref, clock.now()
    waiting = CallState(ref, turns=1, spoken_chars=len(FILLER), polling_since=now)
    waited = replace(waiting, polling_since=now - timedelta(seconds=13))

    patient = line.tell("more", "call-1", current_services().sign_full_state(waiting))
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 2)
    answer = line.tell("more", "call-1", current_services().sign_full_state(waited))

    assert kinds(patient) == ["come_back"]
    assert current_services().verify_state(patient["state"]).spoken_chars == len(FILLER)
    assert words(answer) == "At nine."
    assert record.said == ["agent: Acme here.", "caller: When?", "agent: At nine."]


def test_more_of_a_call_that_ended_meanwhile_is_not_waited_for(
    line: CarrierLine, record: Record, slow: Event, state: str
) -> None:
    first = line.say("call-1", state, "When?")
    line.status("call-1", "completed", state=state)

    over = line.tell("more", "call-1", first["state"])

    assert kinds(over) == ["hang_up"]
    assert record.end == ("completed", "caller_hangup")


def test_more_without_a_turn_to_go_on_with_is_refused(line: CarrierLine, state: str) -> None:
    ref = current_services().verify_state(state).ref
    request = line.request("more", call_id="call-1", state=current_services().sign_state(ref))

    assert line.send(request).status_code == 400


# --- Who went away -------------------------------------------------------------------------------


def test_an_answer_whose_caller_has_hung_up_is_not_recorded_as_said(
    line: CarrierLine, record: Record, state: str
) -> None:
    ref = current_services().verify_state(state).ref
    models = use(Parrot("We open at nine. ", "We close at five."))
    turn = call_flow.handle_utterance(ref, utterance="When?", models=models, after=1)
    next(turn)

    line.status("call-1", "completed", state=state)
    for _ in turn:
        pass

    assert record.said == ["agent: Acme here.", "caller: When?"]
    assert record.end == ("completed", "caller_hangup")


@pytest.mark.parametrize("clauses", [0, 1])
def test_of_an_answer_that_is_stopped_what_was_said_is_kept_and_nothing_else(
    line: CarrierLine, record: Record, state: str, clauses: int
) -> None:
    ref = current_services().verify_state(state).ref
    hangs: Any = Event()
    models = use(Parrot("We open at nine. ", hangs))
    turn = call_flow.handle_utterance(ref, utterance="When?", models=models, after=1)
    said = [next(turn).text for _ in range(clauses)]

    turn.close()

    kept = ["caller: When?", "agent: We open at nine."] if said else []
    assert record.said == ["agent: Acme here.", *kept]


def test_a_turn_that_fails_after_its_asker_has_gone_is_told_when_asked_for_more(
    line: CarrierLine, record: Record, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    thought = Event()
    use(Parrot(thought, ModelError("away", failure="unavailable", permanent=True)), filler_s=0.05)

    first = line.say("call-1", state, "When?")
    thought.set()
    rest = line.tell("more", "call-1", first["state"])

    assert words(first) == FILLER
    assert kinds(rest) == ["say", "hang_up"]
    assert record.end == ("completed", "model_error")


def test_a_call_that_rings_many_times_at_once_is_told_once(line: CarrierLine, acme: Tenant) -> None:
    acme.profile()
    number = acme.number()["did_number"]

    at_once([partial(line.ring, number, "the-same")] * 4)

    told = [each["type"] for each in acme.get("/events").json]
    assert told.count("call.started") == told.count("call.answered") == 1
