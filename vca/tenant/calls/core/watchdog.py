"""A pending job for each live call, which asks the carrier after a long silence.

The job's existence proves that the call is live: it is created with the call, schedules its own
successor, and is withdrawn in the transaction that ends the call. No process has to search all
tenants for open calls.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.services import Services

CHECK_JOB = "calls.check"


def silence_limit(*, services: Services, simulated: bool = False) -> timedelta:
    """Return how long a call may show no activity before its carrier is asked.

    A simulated call has no carrier to ask: it ends as `abandoned`.
    """
    settings = services.settings
    return timedelta(seconds=settings.simulation_idle_s if simulated else settings.call_silence_s)


def start_watch(
    session: Session, *, services: Services, call_id: UUID, now: datetime, simulated: bool = False
) -> None:
    """Schedule the first check of a call, after its silence limit."""
    schedule_check(
        session, call_id=call_id, due_at=now + silence_limit(simulated=simulated, services=services)
    )


def schedule_check(session: Session, *, call_id: UUID, due_at: datetime) -> None:
    """Schedule a check of a call at the given time."""
    queue.enqueue(session, CHECK_JOB, run_at=due_at, lock=_job_lock(call_id), call_id=call_id)


def stop_watch(session: Session, *, call_id: UUID) -> None:
    """Withdraw the pending check of a call."""
    queue.withdraw(session, lock=_job_lock(call_id))


def _job_lock(call_id: UUID) -> str:
    return f"{CHECK_JOB}:{call_id.hex}"
