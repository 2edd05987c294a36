"""Turns with a model that is slow, stalls or fails: the filler, the fallback model and timeouts."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from threading import Event

import pytest

from tests.fakes import openai_server as openai_behaviours
from tests.fakes.hostile_model import repeat_forever
from tests.fakes.models import (
    Answer,
    Step,
    StepModel,
    hanging_step,
    streams_answer,
)
from tests.fakes.openai_server import OpenAIServer, openai_server
from tests.support.concurrency import run_concurrently
from tests.support.model_readers import readers_end
from vca.conversation import engine
from vca.conversation.engine import ReplyStream
from vca.conversation.llm import ModelClient, ModelError, ModelRequest, ToolCall
from vca.conversation.llm.models import LatencyPolicy, Models
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.types import CallFacts, Profile, Reply, Tokens, Transfer
from vca.kit import deadline

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
FACTS = CallFacts("+14155550100", "+442079460000", NOW)
PROFILE = Profile("Ada", "receptionist", "We are Acme.")
FILLER = "One moment, please."
# Long timeouts never expire in a test, short ones always do.
LONG_TIMEOUTS = LatencyPolicy(filler_s=inf, first_s=30, stall_s=30, whole_s=60)
SHORT_TIMEOUTS = replace(LONG_TIMEOUTS, first_s=0.1, stall_s=0.1)
UNAVAILABLE = ModelError("Away.", failure="unavailable")


def fallback_model() -> StepModel:
    return StepModel("I can help.", name="stand-in", tokens=Tokens(7, 3))


def stream_reply(
    model: ModelClient,
    fallback: ModelClient | None = None,
    *,
    latency_policy: LatencyPolicy = LONG_TIMEOUTS,
    profile: Profile = PROFILE,
) -> ReplyStream:
    models = Models(model, fallback, latency_policy=latency_policy)
    return engine.stream_reply(profile, [], "Hello?", models=models, facts=FACTS, now=NOW)


def collect_reply(stream: ReplyStream) -> tuple[list[str], Reply]:
    """Return the spoken chunks of an answer, and the reply."""
    spoken_chunks = list(stream)
    return spoken_chunks, stream.outcome


@pytest.fixture(autouse=True)
def _check_readers() -> Iterator[None]:
    yield
    assert readers_end(within_s=5)


# --- The filler ------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "filler"), [("en", FILLER), ("de", "Einen Moment, bitte.")])
def test_one_filler_is_spoken_while_the_model_is_slow(language: str, filler: str) -> None:
    model_may_continue = Event()
    model = StepModel(model_may_continue, "We open at nine.")
    profile = replace(PROFILE, language=language)

    stream = stream_reply(
        model, latency_policy=replace(LONG_TIMEOUTS, filler_s=0.02), profile=profile
    )
    first = next(stream)
    model_may_continue.set()
    remaining_chunks, reply = collect_reply(stream)

    assert [first, *remaining_chunks] == [filler, "We open at nine."]
    assert reply.text == f"{filler} We open at nine."


def test_chunks_that_cannot_be_spoken_do_not_prevent_the_filler() -> None:
    model_may_continue = Event()

    stream = stream_reply(
        StepModel(" ", "... ", model_may_continue, "Nine."),
        latency_policy=replace(LONG_TIMEOUTS, filler_s=0.02),
    )
    first = next(stream)
    model_may_continue.set()

    assert [first, *collect_reply(stream)[0]] == [FILLER, "Nine."]


def test_endless_white_space_does_not_prevent_the_filler() -> None:
    model = StepModel()
    model.steps = repeat_forever(" ")
    latency_policy = replace(LONG_TIMEOUTS, filler_s=0.05, first_s=0.5)

    assert collect_reply(stream_reply(model, fallback_model(), latency_policy=latency_policy))[
        0
    ] == [FILLER, "I can help."]


def test_no_filler_is_spoken_before_a_fast_answer() -> None:
    spoken_chunks, reply = collect_reply(
        stream_reply(StepModel("We open at nine."), latency_policy=LatencyPolicy())
    )

    assert spoken_chunks == [reply.text] == ["We open at nine."]


def test_a_filler_is_not_the_models_own_text() -> None:
    model_may_continue = Event()
    profile = replace(PROFILE, tools=("transfer",), transfer_targets={"sales": ""})
    model = StepModel(model_may_continue, ToolCall("transfer", '{"target": "sales"}'))

    stream = stream_reply(
        model, latency_policy=replace(LONG_TIMEOUTS, filler_s=0.02), profile=profile
    )
    first = next(stream)
    model_may_continue.set()
    remaining_chunks, reply = collect_reply(stream)

    assert [first, *remaining_chunks] == [FILLER]
    assert reply.actions == (Transfer("sales"),)
    assert reply.is_silent


def test_a_reply_that_is_not_streamed_has_no_filler() -> None:
    models = Models(
        StepModel(hanging_step()),
        fallback_model(),
        latency_policy=replace(SHORT_TIMEOUTS, filler_s=0.0),
    )

    reply = engine.generate_reply(PROFILE, [], "Hello?", models=models, facts=FACTS, now=NOW)

    assert reply.text == "I can help."


# --- The fallback model ----------------------------------------------------------------------


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
def test_the_fallback_model_answers_after_the_first_timeout(steps: list[Step]) -> None:
    model, fallback = StepModel(), fallback_model()
    model.steps = steps

    spoken_chunks, reply = collect_reply(
        stream_reply(model, fallback, latency_policy=SHORT_TIMEOUTS)
    )

    assert spoken_chunks == ["I can help."]
    assert (reply.text, reply.model) == ("I can help.", "stand-in")
    assert reply.actions == ()
    assert readers_end(within_s=5)
    assert model.closed_count == 1


@pytest.mark.parametrize("steps", [[UNAVAILABLE], ["I would say", UNAVAILABLE], [], [" "], ["?!"]])
def test_the_fallback_model_answers_at_once_after_a_failure(steps: list[Step]) -> None:
    spoken_chunks, reply = collect_reply(stream_reply(StepModel(*steps), fallback_model()))

    assert spoken_chunks == ["I can help."]
    assert reply.model == "stand-in"


def test_the_fallback_model_continues_after_a_spoken_chunk() -> None:
    model = StepModel("We are open from nine to five, and", hanging_step())

    spoken_chunks, reply = collect_reply(
        stream_reply(model, fallback_model(), latency_policy=SHORT_TIMEOUTS)
    )

    assert spoken_chunks == ["We are open from nine to five,", "I can help."]
    assert reply.text == "We are open from nine to five, I can help."


def test_the_tokens_of_both_models_are_counted() -> None:
    single_reply = collect_reply(stream_reply(fallback_model()))[1]
    fallback_reply = collect_reply(
        stream_reply(
            StepModel("I would say", hanging_step()),
            fallback_model(),
            latency_policy=SHORT_TIMEOUTS,
        )
    )[1]

    assert single_reply.tokens == Tokens(7, 3)
    assert fallback_reply.tokens.input > 50
    assert fallback_reply.tokens.output == 3 + 3


def test_the_fallback_model_ignores_the_model_of_the_profile() -> None:
    fallback = fallback_model()
    models = Models(StepModel(UNAVAILABLE), fallback, frozenset({"gpt-other"}), LONG_TIMEOUTS)
    profile = replace(PROFILE, model="gpt-other")

    engine.generate_reply(profile, [], "Hello?", models=models, facts=FACTS, now=NOW)

    assert [request.model for request in fallback.requests] == [None]


@pytest.mark.parametrize(
    "fallback", [None, StepModel(hanging_step()), StepModel(" ", hanging_step())]
)
def test_a_timeout_of_all_models_raises_an_error(fallback: StepModel | None) -> None:
    with pytest.raises(ModelError) as error_info:
        collect_reply(
            stream_reply(StepModel(hanging_step()), fallback, latency_policy=SHORT_TIMEOUTS)
        )

    assert error_info.value.failure == "timeout"


def test_the_last_failure_is_raised() -> None:
    with pytest.raises(ModelError) as error_info:
        collect_reply(
            stream_reply(
                StepModel(hanging_step()), StepModel(UNAVAILABLE), latency_policy=SHORT_TIMEOUTS
            )
        )

    assert error_info.value is UNAVAILABLE


# --- Answers that have started ---------------------------------------------------------------


@pytest.mark.parametrize("stalling_steps", [[hanging_step()], repeat_forever(" "), [UNAVAILABLE]])
def test_an_answer_that_stalls_ends_with_its_last_complete_sentence(
    stalling_steps: Iterable[Step],
) -> None:
    model, fallback = StepModel(), fallback_model()
    model.steps = chain_steps("We open at nine. ", "And on Sund", stalling_steps)

    spoken_chunks, reply = collect_reply(
        stream_reply(model, fallback, latency_policy=SHORT_TIMEOUTS)
    )

    assert spoken_chunks == [reply.text] == ["We open at nine."]
    assert reply.model == "parrot"
    assert fallback.requests == []


def chain_steps(*steps: str | Iterable[Step]) -> Iterator[Step]:
    """Yield single steps and the steps of iterables in order."""
    for step in steps:
        yield from [step] if isinstance(step, str) else step


def test_an_answer_that_stalls_after_a_tool_call_has_its_action() -> None:
    profile = replace(PROFILE, tools=("transfer",), transfer_targets={"sales": ""})
    model = StepModel(ToolCall("transfer", '{"target": "sales"}'), hanging_step())

    _, reply = collect_reply(
        stream_reply(model, fallback_model(), latency_policy=SHORT_TIMEOUTS, profile=profile)
    )

    assert reply.actions == (Transfer("sales"),)


@pytest.mark.parametrize("word", ["word ", "word, ", "<b>"])
def test_an_endless_answer_ends_at_the_timeout_of_the_turn(word: str) -> None:
    model = StepModel()
    model.steps = (step for _ in repeat_forever(word) for step in (word, _Pause()))

    with pytest.raises(ModelError) as error_info:
        collect_reply(stream_reply(model, latency_policy=replace(LONG_TIMEOUTS, whole_s=0.2)))

    assert error_info.value.failure == "timeout"


class _Pause(Event):
    """A step that takes 20 milliseconds."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0.02)


def test_a_turn_times_out_at_the_deadline_of_its_request() -> None:
    with deadline.within(0.1), pytest.raises(ModelError) as error_info:
        collect_reply(stream_reply(StepModel(hanging_step()), StepModel(hanging_step())))

    assert error_info.value.failure == "timeout"


# --- Threads ---------------------------------------------------------------------------------


def test_closing_the_stream_stops_the_model() -> None:
    model = StepModel("One. ", "Two. ", hanging_step())

    with closing(stream_reply(model)) as stream:
        next(stream)

    assert readers_end(within_s=5)
    assert model.closed_count == 1


def test_a_fast_model_waits_for_its_reader_and_can_be_stopped() -> None:
    model = StepModel(*["Word. "] * 10_000)

    with closing(stream_reply(model)) as stream:
        next(stream)

    assert readers_end(within_s=5)
    assert model.chunk_count < 200


class BrokenModel(ModelClient):
    """Raises an exception that no client may raise."""

    deterministic = True

    @streams_answer
    def stream(self, request: ModelRequest) -> Answer:
        yield "I "
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unexpected_exception_in_a_client_counts_as_unavailable() -> None:
    assert collect_reply(stream_reply(BrokenModel(), fallback_model()))[1].text == "I can help."

    with pytest.raises(ModelError) as error_info:
        collect_reply(stream_reply(BrokenModel()))

    assert error_info.value.failure == "unavailable"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


def test_a_hundred_turns_with_a_hanging_server_leave_no_thread(server: OpenAIServer) -> None:
    server.set_behaviours(openai_behaviours.hang)
    model = OpenAIModel(base_url=server.url, api_key="k", model="gpt-test", timeout_s=60)
    model.warm_up()
    models = Models(model, latency_policy=replace(SHORT_TIMEOUTS, first_s=1.0))

    def run_turn() -> str:
        try:
            engine.generate_reply(PROFILE, [], "Hello?", models=models, facts=FACTS, now=NOW)
        except ModelError as error:
            return error.failure
        return "answered"

    outcomes = run_concurrently([run_turn] * 100)

    # The timeout of the client is a minute.
    assert readers_end(within_s=10)
    assert outcomes == ["timeout"] * 100
    model.close()


def test_the_fallback_model_replaces_a_hanging_server(server: OpenAIServer) -> None:
    server.set_behaviours(openai_behaviours.hang)
    model = OpenAIModel(base_url=server.url, api_key="k", model="gpt-test", timeout_s=60)
    model.warm_up()

    _, reply = collect_reply(
        stream_reply(model, fallback_model(), latency_policy=replace(SHORT_TIMEOUTS, first_s=0.5))
    )

    assert reply.text == "I can help."
    assert readers_end(within_s=5)
    model.close()
