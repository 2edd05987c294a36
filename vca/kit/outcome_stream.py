"""Streams of items with an outcome that is known once all items have been read."""

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item", covariant=True)
Outcome = TypeVar("Outcome")


class OutcomeMissing(RuntimeError):
    """The outcome of a stream was read before its end, or after it was closed or had failed."""


class PendingOutcome(Generic[Outcome]):
    """The outcome that the producer of a stream sets as its last act.

    It is an object of its own, because a producer that referred to its stream would form a cycle
    with it. Then an abandoned stream would not be closed at once.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: tuple[Outcome, ...] = ()

    def set(self, value: Outcome) -> None:
        """Set the outcome; raise RuntimeError if it is set already."""
        if self._values:
            raise RuntimeError("the outcome of a stream can be set only once")
        self._values = (value,)

    def get(self) -> Outcome:
        """Return the outcome; raise OutcomeMissing if it is not set."""
        if not self._values:
            raise OutcomeMissing("the stream has not been read to its end")
        return self._values[0]


class OutcomeStream(Generic[Item, Outcome]):
    """Items that a generator produces while they are read, and the outcome after the last one.

    Iterate over the stream, then read `outcome`. Nothing happens before the first item is
    requested. To stop early, close the stream, or use it in a `with` statement: the generator then
    ends with GeneratorExit, and there is no outcome.

    The iterator is the generator itself, so the stream costs nothing for each item.
    """

    __slots__ = ("_items", "_pending")

    def __init__(
        self, items: Generator[Item, None, None], pending: PendingOutcome[Outcome]
    ) -> None:
        self._items = items
        self._pending = pending

    def __iter__(self) -> Iterator[Item]:
        return self._items

    def __next__(self) -> Item:
        return next(self._items)

    @property
    def outcome(self) -> Outcome:
        """The outcome; raises OutcomeMissing unless all items have been read."""
        return self._pending.get()

    def read_outcome(self) -> Outcome:
        """Read all remaining items and return the outcome."""
        for _ in self._items:
            pass
        return self._pending.get()

    def throw(self, error: BaseException) -> None:
        """Raise an error where the generator waits, instead of closing it."""
        self._items.throw(error)

    def close(self) -> None:
        """Stop early. Does nothing if the stream has ended."""
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._items.close()
