"""Whether this process is to end.

Its voice WebSockets then end between two turns, not in the middle of one.
"""

from time import monotonic

# A caller hears the end of what is being spoken, for at most this long.
MAX_DRAIN_S = 20.0


class Drain:
    """The draining of a process. Its methods may be called by a signal handler."""

    def __init__(self) -> None:
        self._started_at: float | None = None

    def start(self) -> None:
        """End WebSockets as soon as nobody speaks."""
        if self._started_at is None:
            self._started_at = monotonic()

    def stop(self) -> None:
        """Stop draining: WebSockets continue as before."""
        self._started_at = None

    @property
    def is_active(self) -> bool:
        """Whether WebSockets are to end."""
        return self._started_at is not None

    @property
    def is_overdue(self) -> bool:
        """Whether WebSockets are to end even in the middle of speech."""
        return self._started_at is not None and monotonic() - self._started_at > MAX_DRAIN_S


PROCESS_DRAIN = Drain()
"""The draining of this process, which a signal starts whatever its apps are."""
