"""A pending job for each live call, which asks the carrier after a long silence.

The job's existence proves that the call is live: it is created with the call, schedules its own
successor, and is withdrawn in the transaction that ends the call. No process has to search all
tenants for open calls.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue

CHECK_JOB = "calls.check"
_silence_limit = timedelta(seconds=120)
_simulation_idle_limit = timedelta(seconds=300)


def set_silence_limit(limit: timedelta) -> None:
    """Set how long a call may show no activity before its carrier is asked."""
    global _silence_limit
    _silence_limit = limit


def silence_limit(*, simulated: bool = False) -> timedelta:
    """Return how long a call may show no activity before its carrier is asked.

    A simulated call has no carrier to ask: it ends as `abandoned`.
    """
    return _simulation_idle_limit if simulated else _silence_limit


def set_simulation_idle_limit(limit: timedelta) -> None:
    """Set how long a simulated call may show no activity before it ends."""
    global _simulation_idle_limit
    _simulation_idle_limit = limit


def start_watch(session: Session, *, call_id: UUID, now: datetime, simulated: bool = False) -> None:
    """Schedule the first check of a call, after its silence limit."""
    schedule_check(session, call_id=call_id, due_at=now + silence_limit(simulated=simulated))


def schedule_check(session: Session, *, call_id: UUID, due_at: datetime) -> None:
    """Schedule a check of a call at the given time."""
    queue.enqueue(session, CHECK_JOB, run_at=due_at, lock=_job_lock(call_id), call_id=call_id)


def stop_watch(session: Session, *, call_id: UUID) -> None:
    """Withdraw the pending check of a call."""
    queue.withdraw(session, lock=_job_lock(call_id))


def _job_lock(call_id: UUID) -> str:
    return f"{CHECK_JOB}:{call_id.hex}"
