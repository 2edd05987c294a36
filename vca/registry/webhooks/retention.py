"""The retention of events: they are kept for thirty days, so that receivers can catch up."""

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
    """Schedule a purge in a day, unless one is scheduled already.

    Call it last in a transaction: two transactions that schedule the first purge wait for each
    other.
    """
    queue.enqueue(session, PURGE_JOB, run_at=now + PURGE_INTERVAL, lock=PURGE_JOB)


def schedule_purge_for_tenant(session: Session, *, tenant_id: UUID, now: datetime) -> None:
    """Schedule a purge for an imported tenant, from outside of it."""
    queue.enqueue(session, PURGE_JOB, run_at=now + PURGE_INTERVAL, tenant_id=tenant_id)


def purge_expired(
    session: Session, *, tables: Sequence[Any], now: datetime, retention: timedelta = RETENTION
) -> None:
    """Delete expired rows of these tables, and schedule the next purge if rows are left.

    With a `retention` of less than thirty days, pending deliveries are still kept for thirty. The
    first event of a day schedules the next purge, so none is missed.
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
