"""A waiting job for each live call, which asks its carrier when it has been silent for long.

The job is the proof that the call lives: it is made with the call, makes its own successor, and is
withdrawn in the transaction that ends the call. So nobody visits tenants to find what was left
open.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import jobs

CHECK = "calls.check"
_silence = timedelta(seconds=120)


def use(silence: timedelta) -> None:
    """Ask a call's carrier once it has given no sign of life for so long."""
    global _silence
    _silence = silence


def silence() -> timedelta:
    """How long a call may give no sign of life before its carrier is asked."""
    return _silence


def begin(session: Session, *, call_id: UUID, now: datetime) -> None:
    """Have the call looked at once it has been silent for long."""
    again(session, call_id=call_id, at=now + silence())


def again(session: Session, *, call_id: UUID, at: datetime) -> None:
    """Have the call looked at then."""
    jobs.enqueue(session, CHECK, run_at=at, lock=_lock(call_id), call_id=call_id)


def end(session: Session, *, call_id: UUID) -> None:
    """Have the call looked at no more."""
    jobs.withdraw(session, lock=_lock(call_id))


def _lock(call_id: UUID) -> str:
    return f"{CHECK}:{call_id.hex}"
