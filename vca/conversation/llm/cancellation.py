"""Let one thread cancel the blocking wait of another.

Only the thread that runs a generator can close it, and a thread that blocks on a socket runs no
code. A waiting thread therefore registers a callback that wakes it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

from vca.conversation.types import Tokens


class Cancelled(Exception):
    """The work was cancelled, and its result is not needed any more.

    `tokens` were used until then, estimated for the answer that was cancelled.
    """

    tokens: Tokens = Tokens()


class CancelToken:
    """A one-way cancellation flag that also wakes the thread that is waiting."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._callback: Callable[[], None] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Cancel the work of the thread that observes this token."""
        with self._lock:
            self.cancelled = True
            if self._callback is not None:
                self._callback()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` if the token is cancelled inside the block, never afterwards."""
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
    """End every wait inside the block when `cancel_token` is cancelled."""
    reset_token = _current_token.set(cancel_token)
    try:
        yield
    finally:
        _current_token.reset(reset_token)


def current_token() -> CancelToken | None:
    """Return the token that this thread observes, or None."""
    return _current_token.get()
