"""Limit streamed simulations and replays per process, because each occupies a thread.

Live calls need threads too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from vca.kit.errors import DomainError

RETRY_AFTER_S = 5


class TooManyStreams(DomainError):
    """The process already streams the maximum of simulations and replays."""

    status = 429
    code = "too-many-streams"

    def __init__(self) -> None:
        super().__init__(
            "Too many concurrent simulations and replays; retry later.",
            retry_after_s=RETRY_AFTER_S,
        )


_slots = BoundedSemaphore(4)


def set_max_streams(max_streams: int) -> None:
    """Set how many simulations and replays this process may stream at once."""
    global _slots
    _slots = BoundedSemaphore(max_streams)


@contextmanager
def stream_slot() -> Iterator[None]:
    """Occupy a slot for one simulation or replay. Raises TooManyStreams without waiting."""
    slots = _slots
    if not slots.acquire(blocking=False):
        raise TooManyStreams
    try:
        yield
    finally:
        slots.release()
