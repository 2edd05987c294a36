"""Tell the server that the thread of the current request waits, so that it may start another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_begin_waiting: ContextVar[Callable[[], None] | None] = ContextVar("begin_waiting", default=None)


@contextmanager
def serving_request(on_waiting: Callable[[], None]) -> Iterator[None]:
    """Call `on_waiting` when the request that the block serves begins to wait, at most once."""
    token = _begin_waiting.set(on_waiting)
    try:
        yield
    finally:
        _begin_waiting.reset(token)


def begin_waiting() -> None:
    """Report that the current thread waits from now on, and holds a place for that."""
    on_waiting = _begin_waiting.get()
    if on_waiting is not None:
        _begin_waiting.set(None)
        on_waiting()
