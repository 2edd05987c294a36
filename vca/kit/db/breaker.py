"""A circuit breaker: while the server is down, one request at a time checks whether it is back."""

import threading
from time import monotonic

from vca.kit.db.errors import DatabaseUnavailable
from vca.kit.db.timeouts import CONNECT_TIMEOUT_S


class Breaker:
    """Let one request at a time check whether a failed server is back.

    Without it, each thread would wait until its own deadline on a frozen server, and requests
    queued behind these threads would wait several times that long.
    """

    def __init__(self, *, pause_s: float = 0.5) -> None:
        self._pause_s = pause_s
        self._retry_at = 0.0
        self._tripped = False
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Raise DatabaseUnavailable while tripped, but let one caller through after each pause."""
        if not self._tripped:
            return
        with self._lock:
            if self._tripped and monotonic() < self._retry_at:
                raise DatabaseUnavailable
            self._retry_at = monotonic() + CONNECT_TIMEOUT_S + self._pause_s

    def failed(self) -> None:
        """Record that the server could not be reached."""
        with self._lock:
            self._tripped = True
            self._retry_at = monotonic() + self._pause_s

    def undecided(self) -> None:
        """Record that a caller learned nothing about the server; the next caller may try soon."""
        with self._lock:
            if self._tripped:
                self._retry_at = monotonic() + self._pause_s

    def succeeded(self) -> None:
        """Record that the server responded."""
        self._tripped = False
