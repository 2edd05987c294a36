"""What was told is kept for thirty days, so that whoever missed it can catch up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, true
from sqlalchemy.orm import Session

from vca.jobs import queue

PURGE_JOB = "webhooks.forget"
RETENTION = timedelta(days=30)
PURGE_INTERVAL = timedelta(days=1)


def schedule_purge(session: Session, *, now: datetime) -> None:
    """Have what is old forgotten in a day, unless that is ordered already.

    Two who order the first one wait for each other's transaction: so it is done last.
    """
    queue.enqueue(session, PURGE_JOB, run_at=now + PURGE_INTERVAL, lock=PURGE_JOB)


def schedule_purge_for_tenant(session: Session, *, tenant_id: UUID, now: datetime) -> None:
    """The same for a tenant that has just been brought in, from outside of it."""
    queue.enqueue(session, PURGE_JOB, run_at=now + PURGE_INTERVAL, tenant_id=tenant_id)


def purge_expired(
    session: Session, *, tables: Sequence[Any], now: datetime, retention: timedelta = RETENTION
) -> None:
    """Delete the rows of these tables that are old, and come back in a day if there are others.

    With less than thirty days `kept`, what is still to be sent is kept for its thirty.

    Whoever tells the first event in a day orders the next time: none is missed that is told now.
    """
    for table in tables:
        session.execute(delete(table).where(_expired_condition(table, now, retention)))
    if any(session.scalar(select(exists().select_from(table))) for table in tables):
        schedule_purge(session, now=now)


def _expired_condition(table: Any, now: datetime, retention: timedelta) -> ColumnElement[bool]:
    oldest: ColumnElement[bool] = table.created_at <= now - RETENTION
    if retention >= RETENTION:
        return oldest
    is_final = table.status != "pending" if hasattr(table, "status") else true()
    return or_(oldest, and_(table.created_at <= now - retention, is_final))
