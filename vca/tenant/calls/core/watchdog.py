"""A waiting job for each live call, which asks its carrier when it has been silent for long.

The job is the proof that the call lives: it is made with the call, makes its own successor, and is
withdrawn in the transaction that ends the call. So nobody visits tenants to find what was left
open.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue

CHECK_JOB = "calls.check"
_silence_limit = timedelta(seconds=120)


def set_silence_limit(limit: timedelta) -> None:
    """Ask a call's carrier once it has given no sign of life for so long."""
    global _silence_limit
    _silence_limit = limit


def silence_limit() -> timedelta:
    """How long a call may give no sign of life before its carrier is asked."""
    return _silence_limit


def start_watch(session: Session, *, call_id: UUID, now: datetime) -> None:
    """Have the call looked at once it has been silent for long."""
    schedule_check(session, call_id=call_id, at=now + silence_limit())


def schedule_check(session: Session, *, call_id: UUID, at: datetime) -> None:
    """Have the call looked at then."""
    queue.enqueue(session, CHECK_JOB, run_at=at, lock=_job_lock(call_id), call_id=call_id)


def stop_watch(session: Session, *, call_id: UUID) -> None:
    """Have the call looked at no more."""
    queue.withdraw(session, lock=_job_lock(call_id))


def _job_lock(call_id: UUID) -> str:
    return f"{CHECK_JOB}:{call_id.hex}"
