"""Answers that take long, each of which holds a thread of its process: only so many at once.

Live calls need threads too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from vca.kit.errors import DomainError

RETRY_AFTER_S = 5


class TooManyStreams(DomainError):
    """This process gives as many long answers as it may."""

    status = 429
    code = "too-many-streams"

    def __init__(self) -> None:
        super().__init__(
            "As many simulations are streamed and calls replayed as may be at once.",
            retry_after_s=RETRY_AFTER_S,
        )


_slots = BoundedSemaphore(4)


def set_max_streams(max_streams: int) -> None:
    """Allow this process so many at once."""
    global _slots
    _slots = BoundedSemaphore(max_streams)


@contextmanager
def stream_slot() -> Iterator[None]:
    """Give one long answer. Raises TooManyStreams at once."""
    slots = _slots
    if not slots.acquire(blocking=False):
        raise TooManyStreams
    try:
        yield
    finally:
        slots.release()
