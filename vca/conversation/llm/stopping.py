"""Let one thread end what another waits for.

A generator can be closed by the thread that runs it only, and a thread that waits on a socket runs
nothing. Whoever waits says here how to be woken.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock


class Stop:
    """Asked once, for good; wakes whoever waits at that moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._wake: Callable[[], None] | None = None
        self.asked = False

    def ask(self) -> None:
        """Ask the thread that heeds this to end."""
        with self._lock:
            self.asked = True
            if self._wake is not None:
                self._wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called if the end is asked for meanwhile, never afterwards."""
        with self._lock:
            self._wake = wake
            if self.asked:
                wake()
        try:
            yield
        finally:
            with self._lock:
                self._wake = None


_heeded: ContextVar[Stop | None] = ContextVar("stop", default=None)


@contextmanager
def heeding(stop: Stop) -> Iterator[None]:
    """Have every wait inside end when `stop` is asked."""
    token = _heeded.set(stop)
    try:
        yield
    finally:
        _heeded.reset(token)


def current() -> Stop | None:
    """What this thread heeds, if anything."""
    return _heeded.get()
