"""Whether this process is to end.

Its voice WebSockets then end between two turns, not in the middle of one.
"""

from time import monotonic

# A caller hears the end of what is being spoken, for at most this long.
MAX_DRAIN_S = 20.0

_draining_since: float | None = None


def start_draining() -> None:
    """End WebSockets as soon as nobody speaks. May be called by a signal handler."""
    global _draining_since
    if _draining_since is None:
        _draining_since = monotonic()


def stop_draining() -> None:
    """Stop draining: WebSockets continue as before."""
    global _draining_since
    _draining_since = None


def is_draining() -> bool:
    """Return whether WebSockets are to end."""
    return _draining_since is not None


def deadline_passed() -> bool:
    """Return whether WebSockets are to end even in the middle of speech."""
    return _draining_since is not None and monotonic() - _draining_since > MAX_DRAIN_S
