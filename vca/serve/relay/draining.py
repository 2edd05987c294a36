"""Whether this process is to end: its sockets then end at the end of a turn, not in the middle."""

from time import monotonic

# Who is being spoken to is let hear the end of it, for so long at most.
PATIENCE_S = 20.0

_asked_at: float | None = None


def begin() -> None:
    """From now on sockets end as soon as nobody speaks. May be called by a signal's handler."""
    global _asked_at
    if _asked_at is None:
        _asked_at = monotonic()


def stop() -> None:
    """Go on as before."""
    global _asked_at
    _asked_at = None


def asked() -> bool:
    """Whether sockets are to end."""
    return _asked_at is not None


def presses() -> bool:
    """Whether they are to end even in the middle."""
    return _asked_at is not None and monotonic() - _asked_at > PATIENCE_S
