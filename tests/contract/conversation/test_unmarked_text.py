"""Models that send words without a mark, which complete nothing that can be spoken."""

from dataclasses import replace
from threading import Event, Timer

import pytest

from tests.contract.conversation.test_model_timeouts import (
    LONG_TIMEOUTS,
    collect_reply,
    stream_reply,
)
from tests.fakes.models import (
    Answer,
    Step,
    StepModel,
    hanging_step,
)
from vca.conversation.llm import ModelRequest


class WordModel(StepModel):
    """Sends a word without a mark every 20 ms, and then its steps."""

    def __init__(self, word_count: int, *steps: Step, word: str = " word") -> None:
        super().__init__(*steps)
        self._words = [word] * word_count

    def _stream(self, request: ModelRequest) -> Answer:
        yield "We open at nine. And"
        for word in self._words:
            yield from self._run_step(hanging_for(0.02))
            yield word
        return (yield from super()._stream(request))


def hanging_for(seconds: float) -> Event:
    """Return a step that waits so long."""
    event = Event()
    timer = Timer(seconds, event.set)
    timer.daemon = True
    timer.start()
    return event


def test_a_model_that_sends_words_without_a_mark_is_not_given_up() -> None:
    latency_policy = replace(LONG_TIMEOUTS, stall_s=0.25)

    _, reply = collect_reply(stream_reply(WordModel(40), latency_policy=latency_policy))

    assert reply.text == "We open at nine. And" + " word" * 40


@pytest.mark.parametrize("word_count", [0, 20])
def test_a_model_that_stops_after_words_without_a_mark_is_given_up(word_count: int) -> None:
    latency_policy = replace(LONG_TIMEOUTS, stall_s=0.25)
    model = WordModel(word_count, hanging_step())

    _, reply = collect_reply(stream_reply(model, latency_policy=latency_policy))

    assert reply.text.startswith("We open at nine.")


def test_white_space_alone_does_not_keep_a_model_alive() -> None:
    latency_policy = replace(LONG_TIMEOUTS, stall_s=0.25, whole_s=20)
    model = WordModel(1_000, word=" ")

    _, reply = collect_reply(stream_reply(model, latency_policy=latency_policy))

    assert reply.text.startswith("We open at nine.")
    assert model.requests == []  # it did not get to its end
