"""A breaker: while the server is away, one request at a time finds out whether it is back."""

import threading
from time import monotonic

from vca.kit.db.errors import DatabaseUnavailable
from vca.kit.db.timeouts import CONNECT_TIMEOUT_S


class Breaker:
    """Lets one request at a time find out whether a failing server is back.

    Without it every thread would wait out its own deadline against a frozen server, and requests
    queued behind them would wait for several.
    """

    def __init__(self, *, pause_s: float = 0.5) -> None:
        self._pause_s = pause_s
        self._retry_at = 0.0
        self._tripped = False
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Raise DatabaseUnavailable while tripped, but let one caller through each pause."""
        if not self._tripped:
            return
        with self._lock:
            if self._tripped and monotonic() < self._retry_at:
                raise DatabaseUnavailable
            self._retry_at = monotonic() + CONNECT_TIMEOUT_S + self._pause_s

    def failed(self) -> None:
        """The server was seen to be away."""
        with self._lock:
            self._tripped = True
            self._retry_at = monotonic() + self._pause_s

    def undecided(self) -> None:
        """A caller ended without having seen the one or the other: let the next one try soon."""
        with self._lock:
            if self._tripped:
                self._retry_at = monotonic() + self._pause_s

    def succeeded(self) -> None:
        """The server was seen to be there."""
        self._tripped = False
