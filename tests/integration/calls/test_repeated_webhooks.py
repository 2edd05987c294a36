"""Webhooks that a carrier repeats, polls for the remaining answer, and processes that die."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest

from tests.fakes import openai_server as openai_behaviours
from tests.fakes.models import SequenceModel, StepModel, hanging_step
from tests.fakes.openai_server import OpenAIServer, openai_server
from tests.integration.calls.conftest import CallRecord, use_model
from tests.integration.tenancy.session_state import wait_for
from tests.support.carrier_client import CarrierClient, action_types, spoken_text
from tests.support.concurrency import run_concurrently
from tests.support.factories import Tenant
from tests.support.services import app_services
from vca.conversation.llm import ModelError
from vca.conversation.llm.openai import OpenAIModel
from vca.kit import clock
from vca.tenancy.session import tenant_session
from vca.tenant.calls.carrier_webhooks import polled_turn
from vca.tenant.calls.core import call_tokens, record, turn_records
from vca.tenant.calls.core.call_tokens import CallState
from vca.tenant.calls.core.call_types import Utterance
from vca.tenant.calls.turns import turn_handler

ScriptModel = Callable[..., SequenceModel]
Send = Callable[[], dict[str, Any]]
FILLER = "One moment, please."


@pytest.fixture
def state(carrier_client: CarrierClient, acme: Tenant) -> str:
    """Return the state token of a live call."""
    acme.profile(greeting="Acme here.", end_phrases=["goodbye"])
    return str(carrier_client.ring(acme.number()["did_number"], "call-1")["state"])


@pytest.fixture
def slow_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Install a model that answers once this event is set; requests respond after 0.15 s."""
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    model_may_answer = Event()
    use_model(StepModel(model_may_answer, "We open at nine. ", "We close at five."), filler_s=0.05)
    yield model_may_answer
    model_may_answer.set()


def _verify(token: str) -> CallState:
    return call_tokens.verify_state(token, services=app_services())


def _sign(state: CallState) -> str:
    return call_tokens.sign_state(state, services=app_services())


def _let_model_answer(model_may_answer: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model answer; the next poll waits for that, also on a busy machine."""
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 10)
    model_may_answer.set()


def _store_utterance(state: str, text: str) -> None:
    """Store an utterance without an answer, as a process does that dies after it."""
    ref = _verify(state).ref
    with tenant_session(ref.tenant, database=app_services().database) as session:
        record.lock_call_context(session, ref.call_id)
        turn_records.insert_turn(
            session, ref.call_id, sequence=2, speaker="caller", text=text, started_at=clock.now()
        )


def test_a_repeated_utterance_creates_one_turn_and_one_model_request(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    model = script_model(["At nine."], ["At ten."])

    first, repeated = (carrier_client.say("call-1", state, "When?") for _ in range(2))

    assert first == repeated
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]
    assert len(model.requests) == 1


def test_a_repeated_last_utterance_of_an_ended_call_gets_the_same_response(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    first, repeated = (carrier_client.say("call-1", state, "Goodbye!") for _ in range(2))

    assert first == repeated
    assert action_types(first) == ["say", "hang_up"]
    assert len(call_record.turns) == 3


def test_the_same_text_later_in_the_call_creates_another_turn(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model(["One."], ["Two."])

    first = carrier_client.say("call-1", state, "Yes.")
    second = carrier_client.say("call-1", first["state"], "Yes.")

    assert [spoken_text(first), spoken_text(second)] == ["One.", "Two."]
    assert len(call_record.turns) == 5


def test_an_utterance_stored_by_a_killed_process_is_answered_by_the_next(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    model = script_model(["At nine."])
    _store_utterance(state, "When?")

    response = carrier_client.say("call-1", state, "When?")

    assert spoken_text(response) == "At nine."
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]
    assert [message.text for message in model.requests[0].messages] == ["Acme here.", "When?"]


def test_two_concurrent_utterances_are_answered_and_recognised_when_repeated(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    model = script_model(["Yes."])
    utterances = ["I am Jane.", "My tooth hurts."]

    run_concurrently([partial(carrier_client.say, "call-1", state, text) for text in utterances])
    for text in utterances:
        assert spoken_text(carrier_client.say("call-1", state, text)) == "Yes."

    assert len(call_record.turns) == 5
    assert len(model.requests) == 2


def test_a_concurrently_repeated_utterance_creates_one_turn(
    carrier_client: CarrierClient, call_record: CallRecord, script_model: ScriptModel, state: str
) -> None:
    script_model(["Yes."])

    responses = run_concurrently([partial(carrier_client.say, "call-1", state, "Hello?")] * 4)

    assert {spoken_text(response) for response in responses} == {"Yes."}
    assert call_record.transcript == ["agent: Acme here.", "caller: Hello?", "agent: Yes."]


def test_a_caller_hears_a_filler_first_and_the_remaining_answer_on_a_poll(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    slow_model: Event,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = carrier_client.say("call-1", state, "When?")
    _let_model_answer(slow_model, monkeypatch)
    remaining, repeated = (
        carrier_client.send_event("more", "call-1", first["state"]) for _ in range(2)
    )

    assert action_types(first) == ["say", "come_back"]
    assert spoken_text(first) == FILLER
    assert remaining == repeated
    assert action_types(remaining) == ["say", "listen"]
    assert spoken_text(remaining) == "We open at nine. We close at five."
    assert call_record.transcript[2] == f"agent: {FILLER} We open at nine. We close at five."


def test_the_carrier_polls_until_there_is_an_answer(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    model_may_answer = Event()
    use_model(StepModel(model_may_answer, "We open at nine."), filler_s=60)
    monkeypatch.setattr(polled_turn, "_FILLER_AFTER_S", 60)

    first_poll = carrier_client.say("call-1", state, "When?")
    second_poll = carrier_client.send_event("more", "call-1", first_poll["state"])
    _let_model_answer(model_may_answer, monkeypatch)
    remaining = carrier_client.send_event("more", "call-1", second_poll["state"])

    assert action_types(first_poll) == action_types(second_poll) == ["come_back"]
    assert action_types(remaining) == ["say", "listen"]
    assert spoken_text(remaining) == "We open at nine."
    assert call_record.transcript[1:] == ["caller: When?", "agent: We open at nine."]


def test_an_answer_that_a_killed_process_lost_is_generated_again(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    script_model: ScriptModel,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1)
    script_model(["At nine."])
    _store_utterance(state, "When?")
    ref, now = _verify(state).ref, clock.now()
    recent_poll = CallState(
        ref, turns=1, spoken_chars=len(FILLER), polling_since=now, provider_call_id="call-1"
    )
    overdue_poll = replace(recent_poll, polling_since=now - timedelta(seconds=13))

    poll_response = carrier_client.send_event("more", "call-1", _sign(recent_poll))
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 2)
    response = carrier_client.send_event("more", "call-1", _sign(overdue_poll))

    assert action_types(poll_response) == ["come_back"]
    assert _verify(poll_response["state"]).spoken_chars == len(FILLER)
    assert spoken_text(response) == "At nine."
    assert call_record.transcript == ["agent: Acme here.", "caller: When?", "agent: At nine."]


def test_a_poll_of_an_ended_call_gets_a_hang_up(
    carrier_client: CarrierClient, call_record: CallRecord, slow_model: Event, state: str
) -> None:
    first = carrier_client.say("call-1", state, "When?")
    carrier_client.send_status("call-1", "completed", state=state)

    response = carrier_client.send_event("more", "call-1", first["state"])

    assert action_types(response) == ["hang_up"]
    assert call_record.end_state == ("completed", "caller_hangup")


def test_a_poll_without_a_turn_returns_400(carrier_client: CarrierClient, state: str) -> None:
    ref = _verify(state).ref
    state_without_turns = _sign(CallState(ref, provider_call_id="call-1"))
    request = carrier_client.build_request("more", call_id="call-1", state=state_without_turns)

    assert carrier_client.send(request).status_code == 400


def test_an_answer_after_the_hang_up_is_not_stored(
    carrier_client: CarrierClient, call_record: CallRecord, state: str
) -> None:
    ref = _verify(state).ref
    models = use_model(StepModel("We open at nine. ", "We close at five."))
    turn = turn_handler.handle_utterance(
        ref, Utterance("When?", after=1), models=models, services=app_services()
    )
    next(turn)

    carrier_client.send_status("call-1", "completed", state=state)
    for _ in turn:
        pass

    assert call_record.transcript == ["agent: Acme here.", "caller: When?"]
    assert call_record.end_state == ("completed", "caller_hangup")


@pytest.mark.parametrize("chunk_count", [0, 1])
def test_a_cancelled_answer_is_stored_as_far_as_it_was_spoken(
    carrier_client: CarrierClient, call_record: CallRecord, state: str, chunk_count: int
) -> None:
    ref = _verify(state).ref
    models = use_model(StepModel("We open at nine. ", hanging_step()))
    turn = turn_handler.handle_utterance(
        ref, Utterance("When?", after=1), models=models, services=app_services()
    )
    spoken_chunks = [next(turn).text for _ in range(chunk_count)]

    turn.close()

    new_turns = ["caller: When?", "agent: We open at nine."] if spoken_chunks else []
    assert call_record.transcript == ["agent: Acme here.", *new_turns]


def test_a_poll_returns_the_failure_of_a_turn_after_its_first_response(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.15)
    model_may_answer = Event()
    use_model(
        StepModel(model_may_answer, ModelError("away", failure="unavailable", permanent=True)),
        filler_s=0.05,
    )

    first = carrier_client.say("call-1", state, "When?")
    _let_model_answer(model_may_answer, monkeypatch)
    remaining = carrier_client.send_event("more", "call-1", first["state"])

    assert spoken_text(first) == FILLER
    assert action_types(remaining) == ["say", "hang_up"]
    assert call_record.end_state == ("completed", "model_error")


def test_concurrent_repetitions_of_an_inbound_call_emit_its_events_once(
    carrier_client: CarrierClient, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number()["did_number"]

    run_concurrently([partial(carrier_client.ring, number, "the-same")] * 4)

    event_types = [event["type"] for event in acme.get("/events").json]
    assert event_types.count("call.started") == event_types.count("call.answered") == 1


@pytest.fixture
def model_server(acme: Tenant) -> Iterator[OpenAIServer]:
    """Install a model on a server that sends a text and waits for the client to disconnect."""
    with openai_server() as server:
        server.set_behaviours(openai_behaviours.wait_for_disconnect)
        model = OpenAIModel(base_url=server.url, api_key="key", model="m", timeout_s=60)
        model.warm_up()
        use_model(model, first_s=60, stall_s=60, whole_s=60)  # no timeout ends the stream
        yield server
        model.close()


@pytest.mark.parametrize("polls", [True, False], ids=["while polling", "before the first reply"])
def test_a_hang_up_ends_the_stream_of_the_model(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    model_server: OpenAIServer,
    monkeypatch: pytest.MonkeyPatch,
    polls: bool,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.1 if polls else 20)
    hang_up: Send = partial(carrier_client.send_status, "call-1", "completed", state=state)
    say: Send = partial(carrier_client.say, "call-1", state, "When?")

    def hang_up_during_turn() -> dict[str, Any]:
        wait_for(lambda: model_server.requests)
        return hang_up()

    if polls:
        response = say()
        assert action_types(response)[-1] == "come_back"
        hang_up_during_turn()
        response = carrier_client.send_event("more", "call-1", response["state"])
    else:
        response, _ = run_concurrently([say, hang_up_during_turn])

    assert model_server.client_disconnected.wait(5)
    wait_for(lambda: not polled_turn.running_turns())
    assert action_types(response)[-1] == "hang_up"
    assert call_record.transcript == ["agent: Acme here.", "caller: When?"]
    assert call_record.end_state == ("completed", "caller_hangup")


def test_the_estimated_tokens_of_a_cancelled_answer_are_added_to_its_call(
    carrier_client: CarrierClient,
    call_record: CallRecord,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(polled_turn, "RESPOND_AFTER_S", 0.3)
    use_model(StepModel("We open at nine. ", hanging_step()), first_s=60, stall_s=60, whole_s=60)
    assert spoken_text(carrier_client.say("call-1", state, "When?")) == "We open at nine."

    carrier_client.send_status("call-1", "completed", state=state)
    wait_for(lambda: not polled_turn.running_turns())

    assert call_record.transcript == ["agent: Acme here.", "caller: When?"]
    answer_tokens = len("We open at nine.") // 4
    assert call_record.call["tokens"] > answer_tokens  # the prompt is counted too


def test_a_hang_up_does_not_end_the_turn_of_another_call(
    carrier_client: CarrierClient,
    acme: Tenant,
    state: str,
    slow_model: Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other_state = carrier_client.ring(acme.get("/phone-numbers").json[0]["did_number"], "call-2")[
        "state"
    ]
    first = carrier_client.say("call-1", state, "When?")

    carrier_client.send_status("call-2", "completed", state=other_state)
    _let_model_answer(slow_model, monkeypatch)

    remaining = carrier_client.send_event("more", "call-1", first["state"])
    assert spoken_text(remaining) == "We open at nine. We close at five."


def test_an_event_that_does_not_end_the_call_does_not_end_its_turn(
    carrier_client: CarrierClient, state: str, slow_model: Event
) -> None:
    first = carrier_client.say("call-1", state, "When?")

    carrier_client.send_status("call-1", "answered", state=state)
    slow_model.set()

    remaining = carrier_client.send_event("more", "call-1", first["state"])
    assert spoken_text(remaining) == "We open at nine. We close at five."
