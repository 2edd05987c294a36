"""Schedule jobs that meter something at the end of each month."""

from datetime import date, datetime

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.registry.usage import periods
from vca.tenancy.schema import TenantRef
from vca.tenant.usage import calendar_days


def start(session: Session, job: str, *, now: datetime) -> None:
    """Schedule the job for the end of the present month unless it is scheduled already."""
    schedule(session, job, period=periods.month_of(now))


def schedule(session: Session, job: str, *, period: date) -> None:
    """Schedule the job for the end of a month unless one is scheduled already."""
    queue.enqueue(
        session,
        job,
        run_at=calendar_days.period_end(period),
        lock=job,
        period=periods.format_month(period),
    )


def resume(session: Session, job: str, tenant: TenantRef, *, now: datetime) -> None:
    """Schedule the job of an imported tenant for this month's end: archives contain no jobs.

    The session must be an owner session that is not inside a tenant.
    """
    period = periods.month_of(now)
    queue.enqueue(
        session,
        job,
        run_at=calendar_days.period_end(period),
        tenant_id=tenant.id,
        period=periods.format_month(period),
    )
