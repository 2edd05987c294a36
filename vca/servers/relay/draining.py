"""Whether this process is to end: its sockets then end at the end of a turn, not in the middle."""

from time import monotonic

# Who is being spoken to is let hear the end of it, for so long at most.
MAX_DRAIN_S = 20.0

_draining_since: float | None = None


def start_draining() -> None:
    """From now on sockets end as soon as nobody speaks. May be called by a signal's handler."""
    global _draining_since
    if _draining_since is None:
        _draining_since = monotonic()


def stop_draining() -> None:
    """Go on as before."""
    global _draining_since
    _draining_since = None


def is_draining() -> bool:
    """Whether sockets are to end."""
    return _draining_since is not None


def deadline_passed() -> bool:
    """Whether they are to end even in the middle."""
    return _draining_since is not None and monotonic() - _draining_since > MAX_DRAIN_S
