"""What a caller hears of a model that is slow, stalls or fails: never silence, never for long."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from threading import Event, Thread, enumerate
from time import monotonic

import pytest

from tests.fakes import openai_server as server_side
from tests.fakes.hostile_model import repeat_forever
from tests.fakes.models import StepModel, hanging_step
from tests.fakes.openai_server import OpenAIServer, openai_server
from tests.support.concurrency import run_concurrently
from vca.conversation import engine, stream_reader
from vca.conversation.llm import ModelClient, ModelError, ModelRequest, ToolCall
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.types import CallFacts, Profile, Reply, Tokens, Transfer
from vca.kit import deadline

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
FACTS = CallFacts("+14155550100", "+442079460000", NOW)
PROFILE = Profile("Ada", "receptionist", "We are Acme.")
FILLER = "One moment, please."
# Long enough for whatever must happen, on the slowest of machines, and short for what must not.
LONG = LatencyPolicy(filler_s=inf, first_s=30, stall_s=30, whole_s=60)
SHORT = replace(LONG, first_s=0.1, stall_s=0.1)
AWAY = ModelError("Away.", failure="unavailable")


def stand_in() -> StepModel:
    return StepModel("I can help.", name="stand-in", tokens=Tokens(7, 3))


def conversation(
    model: ModelClient,
    fallback: ModelClient | None = None,
    *,
    patience: LatencyPolicy = LONG,
    profile: Profile = PROFILE,
) -> Generator[str, None, Reply]:
    models = Models(model, fallback, latency_policy=patience)
    return engine.stream_reply(profile, [], "Hello?", models=models, facts=FACTS, now=NOW)


def had(said: Generator[str, None, Reply]) -> tuple[list[str], Reply]:
    """The clauses of an answer, and the reply."""
    clauses = []
    while True:
        try:
            clauses.append(next(said))
        except StopIteration as end:
            return clauses, end.value


def readers() -> list[Thread]:
    return [thread for thread in enumerate() if thread.name == stream_reader.THREAD_NAME]


def none_is_left(within_s: float) -> bool:
    """Whether no thread that reads a model is left, waiting for the last."""
    ends_at = monotonic() + within_s
    for thread in readers():
        thread.join(max(0.0, ends_at - monotonic()))
    return readers() == []


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert none_is_left(within_s=5)


# --- The filler ------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "filler"), [("en", FILLER), ("de", "Einen Moment, bitte.")])
def test_while_a_model_thinks_something_is_said_once(language: str, filler: str) -> None:
    thought = Event()
    model = StepModel(thought, "We open at nine.")
    profile = replace(PROFILE, language=language)

    said = conversation(model, patience=replace(LONG, filler_s=0.02), profile=profile)
    first = next(said)
    thought.set()
    rest, reply = had(said)

    assert [first, *rest] == [filler, "We open at nine."]
    assert reply.text == f"{filler} We open at nine."


def test_what_cannot_be_said_is_no_reason_not_to_fill_the_silence() -> None:
    thought = Event()

    said = conversation(
        StepModel(" ", "... ", thought, "Nine."), patience=replace(LONG, filler_s=0.02)
    )
    first = next(said)
    thought.set()

    assert [first, *had(said)[0]] == [FILLER, "Nine."]


def test_white_space_that_pours_in_is_no_reason_either() -> None:
    model = StepModel()
    model.steps = repeat_forever(" ")  # type: ignore[assignment] # it has no end
    patience = replace(LONG, filler_s=0.05, first_s=0.5)

    assert had(conversation(model, stand_in(), patience=patience))[0] == [FILLER, "I can help."]


def test_a_model_that_answers_needs_no_filler() -> None:
    clauses, reply = had(conversation(StepModel("We open at nine."), patience=LatencyPolicy()))

    assert clauses == [reply.text] == ["We open at nine."]


def test_a_tool_call_after_a_filler_gets_its_own_words() -> None:
    thought = Event()
    able = replace(PROFILE, tools=("transfer",), transfer_targets={"sales": ""})
    model = StepModel(thought, ToolCall("transfer", '{"target": "sales"}'))

    said = conversation(model, patience=replace(LONG, filler_s=0.02), profile=able)
    first = next(said)
    thought.set()
    rest, reply = had(said)

    assert [first, *rest] == [FILLER, "One moment, I am connecting you."]
    assert reply.actions == (Transfer("sales"),)


def test_where_nothing_can_be_heard_meanwhile_there_is_no_filler() -> None:
    models = Models(
        StepModel(hanging_step()), stand_in(), latency_policy=replace(SHORT, filler_s=0.0)
    )

    reply = engine.generate_reply(PROFILE, [], "Hello?", models=models, facts=FACTS, now=NOW)

    assert reply.text == "I can help."


# --- The other model -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        [hanging_step()],
        ["", hanging_step()],
        [" ", "\n", hanging_step()],
        ["... ", hanging_step()],
        repeat_forever(" "),
        repeat_forever(""),
        repeat_forever("\u200b"),
        [ToolCall("dial", '{"number": "+19005550199"}'), hanging_step()],
        [ToolCall("transfer", "{}"), hanging_step()],
        ["I would say", hanging_step()],
    ],
)
def test_a_model_that_says_nothing_useful_in_time_is_given_up(steps: list[str]) -> None:
    model, other = StepModel(), stand_in()
    model.steps = steps  # type: ignore[assignment] # one of them has no end

    clauses, reply = had(conversation(model, other, patience=SHORT))

    assert clauses == ["I can help."]
    assert (reply.text, reply.model) == ("I can help.", "stand-in")
    assert reply.actions == ()
    assert none_is_left(within_s=5)
    assert model.closed_count == 1


@pytest.mark.parametrize("steps", [[AWAY], ["I would say", AWAY], [], [" "], ["?!"]])
def test_a_model_that_fails_is_replaced_at_once(steps: list[str]) -> None:
    clauses, reply = had(conversation(StepModel(*steps), stand_in()))

    assert clauses == ["I can help."]
    assert reply.model == "stand-in"


def test_a_clause_that_was_said_stays_said_and_the_other_model_begins_anew() -> None:
    model = StepModel("We are open from nine to five, and", hanging_step())

    clauses, reply = had(conversation(model, stand_in(), patience=SHORT))

    assert clauses == ["We are open from nine to five,", "I can help."]
    assert reply.text == "We are open from nine to five, I can help."


def test_both_models_cost_what_they_said() -> None:
    alone = had(conversation(stand_in()))[1]
    both = had(conversation(StepModel("I would say", hanging_step()), stand_in(), patience=SHORT))[
        1
    ]

    assert alone.tokens == Tokens(7, 3)
    assert both.tokens.input > 50
    assert both.tokens.output == 3 + 3


def test_the_other_model_is_asked_for_its_own_model() -> None:
    other = stand_in()
    models = Models(StepModel(AWAY), other, frozenset({"gpt-other"}), LONG)
    profile = replace(PROFILE, model="gpt-other")

    engine.generate_reply(profile, [], "Hello?", models=models, facts=FACTS, now=NOW)

    assert [request.model for request in other.requests] == [None]


@pytest.mark.parametrize("other", [None, StepModel(hanging_step()), StepModel(" ", hanging_step())])
def test_when_no_model_answers_in_time_the_caller_of_this_is_told(other: StepModel | None) -> None:
    with pytest.raises(ModelError) as caught:
        had(conversation(StepModel(hanging_step()), other, patience=SHORT))

    assert caught.value.failure == "timeout"


def test_the_last_failure_is_told() -> None:
    with pytest.raises(ModelError) as caught:
        had(conversation(StepModel(hanging_step()), StepModel(AWAY), patience=SHORT))

    assert caught.value is AWAY


# --- Answers that have begun -----------------------------------------------------------------


@pytest.mark.parametrize("stalls", [[hanging_step()], repeat_forever(" "), [AWAY]])
def test_an_answer_that_stalls_ends_with_its_last_whole_sentence(stalls: list[str]) -> None:
    model, other = StepModel(), stand_in()
    model.steps = chained("We open at nine. ", "And on Sund", stalls)

    clauses, reply = had(conversation(model, other, patience=SHORT))

    assert clauses == [reply.text] == ["We open at nine."]
    assert reply.model == "parrot"
    assert other.requests == []


def chained(*steps: object) -> Iterator[str]:  # type: ignore[misc] # of steps
    """Steps, some of them many."""
    for step in steps:
        yield from [step] if isinstance(step, str) else step  # type: ignore[misc]


def test_an_answer_that_stalls_after_a_tool_call_ends_with_it() -> None:
    able = replace(PROFILE, tools=("transfer",), transfer_targets={"sales": ""})
    model = StepModel(ToolCall("transfer", '{"target": "sales"}'), hanging_step())

    _, reply = had(conversation(model, stand_in(), patience=SHORT, profile=able))

    assert reply.actions == (Transfer("sales"),)
    assert reply.text == "One moment, I am connecting you."


@pytest.mark.parametrize("word", ["word ", "word, ", "<b>"])
def test_an_answer_that_goes_on_and_on_ends_with_the_turn(word: str) -> None:
    beats = StepModel()
    beats.steps = (step for _ in repeat_forever(word) for step in (word, _Beat()))  # type: ignore[assignment]

    with pytest.raises(ModelError) as caught:
        had(conversation(beats, patience=replace(LONG, whole_s=0.2)))

    assert caught.value.failure == "timeout"


class _Beat(Event):
    """A step that lasts a moment."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0.02)


def test_a_turn_stays_within_its_requests_budget() -> None:
    with deadline.within(0.1), pytest.raises(ModelError) as caught:
        had(conversation(StepModel(hanging_step()), StepModel(hanging_step())))

    assert caught.value.failure == "timeout"


# --- Threads ---------------------------------------------------------------------------------


def test_who_stops_listening_stops_the_model() -> None:
    model = StepModel("One. ", "Two. ", hanging_step())

    with closing(conversation(model)) as said:
        next(said)

    assert none_is_left(within_s=5)
    assert model.closed_count == 1


def test_a_model_far_ahead_waits_for_the_voice_and_can_be_stopped() -> None:
    model = StepModel(*["Word. "] * 10_000)

    with closing(conversation(model)) as said:
        next(said)

    assert none_is_left(within_s=5)
    assert model.chunk_count < 200


class BrokenModel(ModelClient):
    """Raises what no client may."""

    deterministic = True

    def stream(self, request: ModelRequest) -> Generator[str, None, None]:
        yield "I "
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_in_a_client_rises_where_it_is_and_the_call_goes_on() -> None:
    assert had(conversation(BrokenModel(), stand_in()))[1].text == "I can help."

    with pytest.raises(ModelError) as caught:
        had(conversation(BrokenModel()))

    assert caught.value.failure == "unavailable"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


def test_a_hundred_turns_against_a_server_that_hangs_leave_no_thread(server: OpenAIServer) -> None:
    server.set_behaviours(server_side.hang)
    model = OpenAIModel(base_url=server.url, api_key="k", model="gpt-test", timeout_s=60)
    model.warm_up()
    models = Models(model, latency_policy=replace(SHORT, first_s=1.0))

    def turn() -> str:
        try:
            engine.generate_reply(PROFILE, [], "Hello?", models=models, facts=FACTS, now=NOW)
        except ModelError as error:
            return error.failure
        return "answered"

    outcomes = run_concurrently([turn] * 100)

    # Their client would have waited a minute.
    assert none_is_left(within_s=10)
    assert outcomes == ["timeout"] * 100
    model.close()


def test_a_hanging_server_is_replaced_by_another(server: OpenAIServer) -> None:
    server.set_behaviours(server_side.hang)
    model = OpenAIModel(base_url=server.url, api_key="k", model="gpt-test", timeout_s=60)
    model.warm_up()

    _, reply = had(conversation(model, stand_in(), patience=replace(SHORT, first_s=0.5)))

    assert reply.text == "I can help."
    assert none_is_left(within_s=5)
    model.close()
