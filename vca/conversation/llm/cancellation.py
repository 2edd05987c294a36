"""Let one thread end what another waits for.

A generator can be closed by the thread that runs it only, and a thread that waits on a socket runs
nothing. Whoever waits says here how to be woken.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock


class CancelToken:
    """Asked once, for good; wakes whoever waits at that moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._callback: Callable[[], None] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Ask the thread that heeds this to end."""
        with self._lock:
            self.cancelled = True
            if self._callback is not None:
                self._callback()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called if the end is asked for meanwhile, never afterwards."""
        with self._lock:
            self._callback = callback
            if self.cancelled:
                callback()
        try:
            yield
        finally:
            with self._lock:
                self._callback = None


_current_token: ContextVar[CancelToken | None] = ContextVar("stop", default=None)


@contextmanager
def cancel_scope(cancel_token: CancelToken) -> Iterator[None]:
    """Have every wait inside end when `stop` is asked."""
    reset_token = _current_token.set(cancel_token)
    try:
        yield
    finally:
        _current_token.reset(reset_token)


def current_token() -> CancelToken | None:
    """What this thread heeds, if anything."""
    return _current_token.get()
