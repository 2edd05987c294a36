"""Forget what was said once its time has come; that there was a call stays on record.

Ordered by the tenant's own writes: the end of a call, and a change of the setting. One order waits
at most, for the earliest moment at which something is due.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.calls.models import Call, Turn
from vca.tenant.settings import service as settings

FORGET = "calls.forget"
_AT_ONCE = 500
_SAID = exists().where(Turn.call_id == Call.id)


def order(session: Session, *, ended_at: datetime) -> None:
    """A call has ended: have it forgotten in time, if the tenant has set one."""
    days = _days(session)
    if days is not None:
        jobs.enqueue(session, FORGET, run_at=ended_at + timedelta(days=days), lock=FORGET)


def forget(tenant: TenantRef, *, now: datetime) -> int:
    """Delete the turns of calls whose time has come, and what was noted of them; how many calls.

    The next ones are ordered.
    """
    with enter(tenant) as session:
        days = _days(session)
        if days is None:
            return 0
        until = now - timedelta(days=days)
        due = session.scalars(
            select(Call.id).where(Call.ended_at <= until, _SAID).limit(_AT_ONCE)
        ).all()
        session.execute(delete(Turn).where(Turn.call_id.in_(due)))
        forgotten = {"summary": None, "data": None}
        session.execute(update(Call).where(Call.id.in_(due)).values(forgotten))
        earliest = session.scalar(select(func.min(Call.ended_at)).where(_SAID))
        if earliest is not None:
            run_at = max(now, earliest + timedelta(days=days))
            jobs.enqueue(session, FORGET, run_at=run_at, lock=FORGET)
    return len(due)


def _days(session: Session) -> int | None:
    days: int | None = settings.get(session).retention_days.get("transcripts")
    return days
