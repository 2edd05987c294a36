"""Tests of the second request to a busy model, and of the wait for a model that reasons."""

from dataclasses import replace
from threading import Event, Timer
from time import monotonic

import pytest

from tests.contract.conversation.test_model_timeouts import (
    LONG_TIMEOUTS,
    collect_reply,
    fallback_model,
    stream_reply,
)
from tests.fakes.models import SequenceModel, Step, StepModel
from vca.conversation import localised_phrases
from vca.conversation.llm import (
    AnswerStream,
    ModelError,
    ModelRequest,
    Reasoning,
)
from vca.conversation.llm.models import Models, create_models

BUSY = ModelError("Busy.", failure="rate_limited", server_status=429, server_retry_after_s=0.0)
BROKEN = ModelError("Broken.", failure="unavailable", server_status=503, server_retry_after_s=0.0)
FILLER = localised_phrases.phrase("filler", "en")


class TimedModel(StepModel):
    """Sends its steps in intervals of 0.1 s."""

    def __init__(self, *steps: Step) -> None:
        spaced_steps: list[Step] = []
        for step in steps:
            pause = Event()
            spaced_steps += [pause, step]
        super().__init__(*spaced_steps)

    def stream(self, request: ModelRequest) -> AnswerStream:
        pauses = [step for step in self.steps if isinstance(step, Event)]
        for number, pause in enumerate(pauses):
            Timer(0.1 * number, pause.set).start()
        return super().stream(request)


@pytest.mark.parametrize("failure", [BUSY, BROKEN])
def test_a_busy_or_broken_model_without_a_fallback_is_asked_once_more(failure: ModelError) -> None:
    model = SequenceModel([failure], ["We open at nine."])

    _, reply = collect_reply(stream_reply(model))

    assert reply.text == "We open at nine."
    assert len(model.requests) == 2


def test_a_model_is_asked_at_most_twice() -> None:
    model = SequenceModel([BUSY])

    with pytest.raises(ModelError):
        collect_reply(stream_reply(model))

    assert len(model.requests) == 2


@pytest.mark.parametrize(
    "failure",
    [
        ModelError("Quota.", failure="rate_limited", permanent=True, server_status=429),
        ModelError("Refused.", failure="refused", permanent=True, server_status=401),
        ModelError("Away.", failure="unavailable"),
        ModelError("Slow.", failure="timeout"),
    ],
)
def test_other_failures_are_not_retried(failure: ModelError) -> None:
    model = SequenceModel([failure], ["We open at nine."])

    with pytest.raises(ModelError):
        collect_reply(stream_reply(model))

    assert len(model.requests) == 1


def test_the_fallback_model_is_asked_before_a_busy_model_again() -> None:
    model, fallback = SequenceModel([BUSY], ["Too late."]), fallback_model()

    _, reply = collect_reply(stream_reply(model, fallback))

    assert reply.text == "I can help."
    assert len(model.requests) == 1


def test_a_retry_that_does_not_fit_into_the_turn_is_left_out() -> None:
    model = SequenceModel([replace_retry_after(BUSY, 30.0)])

    with pytest.raises(ModelError):
        collect_reply(stream_reply(model, latency_policy=replace(LONG_TIMEOUTS, whole_s=0.1)))

    assert len(model.requests) == 1


def replace_retry_after(error: ModelError, seconds: float) -> ModelError:
    return ModelError(
        error.detail,
        failure=error.failure,
        server_status=error.server_status,
        server_retry_after_s=seconds,
    )


def test_a_model_that_reasons_is_waited_for_longer_than_the_first_token_may_take() -> None:
    model = TimedModel(*[Reasoning()] * 8, "We open at nine.")

    _, reply = collect_reply(
        stream_reply(model, latency_policy=replace(LONG_TIMEOUTS, first_s=0.4))
    )

    assert reply.text == "We open at nine."


def test_the_filler_is_repeated_while_a_model_reasons() -> None:
    model = TimedModel(*[Reasoning()] * 9, "We open at nine.")

    chunks, _ = collect_reply(
        stream_reply(model, latency_policy=replace(LONG_TIMEOUTS, filler_s=0.05, refill_s=0.25))
    )

    assert 2 <= chunks.count(FILLER) <= 5
    assert chunks[-1] == "We open at nine."


def test_reasoning_ends_with_the_time_for_the_whole_answer() -> None:
    model = TimedModel(*[Reasoning()] * 100)
    started_at = monotonic()

    with pytest.raises(ModelError):
        collect_reply(
            stream_reply(model, latency_policy=replace(LONG_TIMEOUTS, first_s=0.3, whole_s=0.6))
        )

    assert monotonic() - started_at < 5


def test_a_model_may_have_a_longer_wait_for_its_first_words_than_others() -> None:
    models = create_models(
        base_url="", api_key="", model="", first_token_s=4, first_token_s_of={"qwen3:8b": 20}
    )

    assert models.latency_policy.first_chunk_s("qwen3:8b") == 20
    assert models.latency_policy.first_chunk_s("qwen3") == 4


def test_the_wait_for_the_first_words_is_that_of_the_model() -> None:
    slow = StepModel(pause := Event(), "We open at nine.", name="slow")
    Timer(0.4, pause.set).start()
    policy = replace(LONG_TIMEOUTS, first_s=0.1, first_s_of={"slow": 20.0})

    assert collect_reply(stream_reply(slow, latency_policy=policy))[1].text == "We open at nine."


def test_every_model_that_may_answer_has_a_name() -> None:
    models = Models(StepModel(name="a"), fallback_model(), frozenset({"c", "a", "b"}))

    assert [name for _, name in models.names()] == ["a", "b", "c", "stand-in"]
