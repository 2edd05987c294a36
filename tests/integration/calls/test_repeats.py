"""A carrier that repeats itself, comes back for more, or is answered by another process."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest

from tests.fakes.models import SequenceModel, StepModel
from tests.integration.calls.conftest import CallRecord, use_model
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.concurrency import run_concurrently
from tests.support.factories import Tenant
from vca.conversation.llm import ModelError
from vca.kit import clock
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.core import record as rows
from vca.tenant.calls.core.call_services import CallState, current_services
from vca.tenant.calls.turns import turn_handler

Says = Callable[..., SequenceModel]
FILLER = "One moment, please."


@pytest.fixture
def state(carrier_client: CarrierClient, acme: Tenant) -> str:
    """The token of a live call."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"])
    return str(carrier_client.ring(acme.number()["did_number"], "call-1")["state"])


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """A caller of little patience, and a model that answers once this is set."""
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    thought = Event()
    use_model(StepModel(thought, "We open at nine. ", "We close at five."), filler_s=0.05)
    yield thought
    thought.set()


def _heard(state: str, text: str) -> None:
    """A process writes down what the caller said, and dies."""
    ref = current_services().verify_state(state).ref
    with tenant_session(ref.tenant) as session:
        rows.lock_call_context(session, ref.call_id)
        rows.insert_turn(
            session, ref.call_id, sequence=2, speaker="caller", text=text, started_at=clock.now()
        )


# --- The same again ------------------------------------------------------------------------------


def test_the_same_words_twice_are_one_turn_and_one_question_to_the_model(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    model = script_model(["At nine."], ["At ten."])

    first, again = (carrier_client.say("call-1", state, "When?") for _ in range(2))

    assert first == again
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]
    assert len(model.requests) == 1


def test_the_last_words_of_a_call_are_said_again_though_it_is_over(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    first, again = (carrier_client.say("call-1", state, "Goodbye!") for _ in range(2))

    assert first == again
    assert action_types(first) == ["say", "hang_up"]
    assert len(call_record.turns) == 3


def test_the_same_words_later_in_the_call_are_another_turn(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model(["One."], ["Two."])

    first = carrier_client.say("call-1", state, "Yes.")
    second = carrier_client.say("call-1", first["state"], "Yes.")

    assert [spoken_text(first), spoken_text(second)] == ["One.", "Two."]
    assert len(call_record.turns) == 5


def test_what_a_process_heard_before_it_died_is_answered_by_the_next(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    model = script_model(["At nine."])
    _heard(state, "When?")

    answer = carrier_client.say("call-1", state, "When?")

    assert spoken_text(answer) == "At nine."
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]
    assert [message.text for message in model.requests[0].messages] == ["Acme here.", "When?"]


def test_two_turns_at_once_are_both_answered_and_known_when_they_are_repeated(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    model = script_model(["Yes."])
    said = ["I am Jane.", "My tooth hurts."]

    run_concurrently([partial(carrier_client.say, "call-1", state, text) for text in said])
    for text in said:
        assert spoken_text(carrier_client.say("call-1", state, text)) == "Yes."

    assert len(call_record.turns) == 5
    assert len(model.requests) == 2


def test_the_same_words_at_once_are_one_turn_with_one_answer(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: Says, state: str
) -> None:
    script_model(["Yes."])

    answers = run_concurrently([partial(carrier_client.say, "call-1", state, "Hello?")] * 4)

    assert {spoken_text(answer) for answer in answers} == {"Yes."}
    assert call_record.transcript == ["agent: Acme here.", "caller: Hello?", "agent: Yes."]


# --- More ----------------------------------------------------------------------------------------


def test_a_caller_hears_a_filler_at_once_and_the_rest_when_it_is_there(
    carrier_client: CarrierClient, call_record: CallRecord, slow: Event, state: str
) -> None:
    first = carrier_client.say("call-1", state, "When?")
    slow.set()
    rest, again = (carrier_client.send_event("more", "call-1", first["state"]) for _ in range(2))

    assert action_types(first) == ["say", "come_back"]
    assert spoken_text(first) == FILLER
    assert rest == again
    assert action_types(rest) == ["say", "listen"]
    assert spoken_text(rest) == "We open at nine. We close at five."
    assert call_record.transcript[2] == f"agent: {FILLER} We open at nine. We close at five."


def test_with_nothing_to_say_yet_the_carrier_comes_back_until_there_is(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    thought = Event()
    use_model(StepModel(thought, "We open at nine."), filler_s=60)
    monkeypatch.setattr(polled_turn, "_FILLER_AFTER_S", 60)

    nothing = carrier_client.say("call-1", state, "When?")
    still = carrier_client.send_event("more", "call-1", nothing["state"])
    thought.set()
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 10)
    rest = carrier_client.send_event("more", "call-1", still["state"])

    assert action_types(nothing) == action_types(still) == ["come_back"]
    assert action_types(rest) == ["say", "listen"]
    assert spoken_text(rest) == "We open at nine."
    assert call_record.transcript[1:] == ["caller: When?", "agent: We open at nine."]


def test_a_rest_that_its_process_lost_is_answered_anew(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: Says,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    script_model(["At nine."])
    _heard(state, "When?")
    ref, now = current_services().verify_state(state).ref, clock.now()
    waiting = CallState(ref, turns=1, spoken_chars=len(FILLER), polling_since=now)
    waited = replace(waiting, polling_since=now - timedelta(seconds=13))

    patient = carrier_client.send_event(
        "more", "call-1", current_services().sign_full_state(waiting)
    )
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 2)
    answer = carrier_client.send_event("more", "call-1", current_services().sign_full_state(waited))

    assert action_types(patient) == ["come_back"]
    assert current_services().verify_state(patient["state"]).spoken_chars == len(FILLER)
    assert spoken_text(answer) == "At nine."
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]


def test_more_of_a_call_that_ended_meanwhile_is_not_waited_for(
    carrier_client: CarrierClient, call_record: CallRecord, slow: Event, state: str
) -> None:
    first = carrier_client.say("call-1", state, "When?")
    carrier_client.send_status("call-1", "completed", state=state)

    over = carrier_client.send_event("more", "call-1", first["state"])

    assert action_types(over) == ["hang_up"]
    assert call_record.end_state == ("completed", "caller_hangup")


def test_more_without_a_turn_to_go_on_with_is_refused(
    carrier_client: CarrierClient, state: str
) -> None:
    ref = current_services().verify_state(state).ref
    request = carrier_client.build_request(
        "more", call_id="call-1", state=current_services().sign_state(ref)
    )

    assert carrier_client.send(request).status_code == 400


# --- Who went away -------------------------------------------------------------------------------


def test_an_answer_whose_caller_has_hung_up_is_not_recorded_as_said(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    ref = current_services().verify_state(state).ref
    models = use_model(StepModel("We open at nine. ", "We close at five."))
    turn = turn_handler.handle_utterance(ref, utterance="When?", models=models, after=1)
    next(turn)

    carrier_client.send_status("call-1", "completed", state=state)
    for _ in turn:
        pass

    assert call_record.transcript == ["agent: Acme here.", "caller: When?"]
    assert call_record.end_state == ("completed", "caller_hangup")


@pytest.mark.parametrize("clauses", [0, 1])
def test_of_an_answer_that_is_stopped_what_was_said_is_kept_and_nothing_else(
    carrier_client: CarrierClient, call_record: CallRecord, state: str, clauses: int
) -> None:
    ref = current_services().verify_state(state).ref
    hangs: Any = Event()
    models = use_model(StepModel("We open at nine. ", hangs))
    turn = turn_handler.handle_utterance(ref, utterance="When?", models=models, after=1)
    said = [next(turn).text for _ in range(clauses)]

    turn.close()

    kept = ["caller: When?", "agent: We open at nine."] if said else []
    assert call_record.transcript == ["agent: Acme here.", *kept]


def test_a_turn_that_fails_after_its_asker_has_gone_is_told_when_asked_for_more(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    thought = Event()
    use_model(
        StepModel(thought, ModelError("away", failure="unavailable", permanent=True)), filler_s=0.05
    )

    first = carrier_client.say("call-1", state, "When?")
    thought.set()
    rest = carrier_client.send_event("more", "call-1", first["state"])

    assert spoken_text(first) == FILLER
    assert action_types(rest) == ["say", "hang_up"]
    assert call_record.end_state == ("completed", "model_error")


def test_a_call_that_rings_many_times_at_once_is_told_once(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number()["did_number"]

    run_concurrently([partial(carrier_client.ring, number, "the-same")] * 4)

    told = [each["type"] for each in acme.get("/events").json]
    assert told.count("call.started") == told.count("call.answered") == 1
