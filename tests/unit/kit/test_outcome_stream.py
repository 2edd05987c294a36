"""Tests of the streams that end with an outcome."""

from collections.abc import Generator
from weakref import ref

import pytest

from vca.kit.outcome_stream import OutcomeMissing, OutcomeStream, PendingOutcome


class Source:
    """A producer of two items, which records how it ended."""

    def __init__(self) -> None:
        self.end: str | None = None

    def stream(self) -> OutcomeStream[str, int]:
        outcome = PendingOutcome[int]()
        return OutcomeStream(self._items(outcome), outcome)

    def _items(self, outcome: PendingOutcome[int]) -> Generator[str, None, None]:
        try:
            yield "one"
            yield "two"
            outcome.set(2)
        except BaseException as error:
            self.end = type(error).__name__
            raise
        self.end = "finished"


def test_the_outcome_follows_the_items() -> None:
    stream = Source().stream()

    assert list(stream) == ["one", "two"]
    assert stream.outcome == 2


def test_reading_the_outcome_reads_the_remaining_items() -> None:
    stream = Source().stream()

    assert next(stream) == "one"
    assert stream.read_outcome() == 2
    assert list(stream) == []


def test_nothing_is_produced_before_the_first_item_is_requested() -> None:
    source = Source()

    source.stream().close()

    assert source.end is None


def test_there_is_no_outcome_before_the_end() -> None:
    stream = Source().stream()
    next(stream)

    with pytest.raises(OutcomeMissing):
        _ = stream.outcome


def test_a_closed_stream_has_no_outcome() -> None:
    source = Source()

    with source.stream() as stream:
        next(stream)

    assert source.end == "GeneratorExit"
    with pytest.raises(OutcomeMissing):
        _ = stream.outcome


def test_an_error_that_is_thrown_into_a_stream_ends_it_without_outcome() -> None:
    source = Source()
    stream = source.stream()
    next(stream)

    with pytest.raises(ConnectionError):
        stream.throw(ConnectionError())

    assert source.end == "ConnectionError"
    with pytest.raises(OutcomeMissing):
        stream.read_outcome()


def test_closing_a_stream_after_its_end_keeps_the_outcome() -> None:
    with Source().stream() as stream:
        assert stream.read_outcome() == 2

    assert stream.outcome == 2


def test_an_abandoned_stream_is_closed_at_once() -> None:
    source = Source()
    stream = source.stream()
    next(stream)
    generator = ref(iter(stream))

    del stream

    assert generator() is None
    assert source.end == "GeneratorExit"


def test_an_outcome_is_set_once() -> None:
    outcome = PendingOutcome[int]()
    outcome.set(1)

    with pytest.raises(RuntimeError):
        outcome.set(2)
