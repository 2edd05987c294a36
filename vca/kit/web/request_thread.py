"""Tell the server when the thread of the current request waits, so that it may start another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class _ServedRequest:
    """A request that a thread serves, and the number of its waits that have not ended."""

    def __init__(self, on_waiting: Callable[[], None], on_working: Callable[[], None]) -> None:
        self.on_waiting, self.on_working = on_waiting, on_working
        self.wait_count = 0


_served_request: ContextVar[_ServedRequest | None] = ContextVar("served_request", default=None)


@contextmanager
def serving_request(
    on_waiting: Callable[[], None], on_working: Callable[[], None]
) -> Iterator[None]:
    """Call the functions each time the request that the block serves begins and ends to wait."""
    token = _served_request.set(_ServedRequest(on_waiting, on_working))
    try:
        yield
    finally:
        _served_request.reset(token)


def begin_waiting() -> None:
    """Report that the current thread waits from now on, and holds a place for that."""
    served = _served_request.get()
    if served is not None:
        served.wait_count += 1
        if served.wait_count == 1:
            served.on_waiting()


def end_waiting() -> None:
    """Report that the current thread works again, and has given its place back."""
    served = _served_request.get()
    if served is not None and served.wait_count:
        served.wait_count -= 1
        if not served.wait_count:
            served.on_working()
