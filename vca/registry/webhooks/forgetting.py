"""What was told is kept for thirty days, so that whoever missed it can catch up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, true
from sqlalchemy.orm import Session

from vca.kit import jobs

FORGET = "webhooks.forget"
KEPT = timedelta(days=30)
EVERY = timedelta(days=1)


def order(session: Session, *, now: datetime) -> None:
    """Have what is old forgotten in a day, unless that is ordered already.

    Two who order the first one wait for each other's transaction: so it is done last.
    """
    jobs.enqueue(session, FORGET, run_at=now + EVERY, lock=FORGET)


def order_for(session: Session, *, tenant_id: UUID, now: datetime) -> None:
    """The same for a tenant that has just been brought in, from outside of it."""
    jobs.enqueue(session, FORGET, run_at=now + EVERY, tenant_id=tenant_id)


def forget(
    session: Session, *, tables: Sequence[Any], now: datetime, kept: timedelta = KEPT
) -> None:
    """Delete the rows of these tables that are old, and come back in a day if there are others.

    With less than thirty days `kept`, what is still to be sent is kept for its thirty.

    Whoever tells the first event in a day orders the next time: none is missed that is told now.
    """
    for table in tables:
        session.execute(delete(table).where(_old(table, now, kept)))
    if any(session.scalar(select(exists().select_from(table))) for table in tables):
        order(session, now=now)


def _old(table: Any, now: datetime, kept: timedelta) -> ColumnElement[bool]:
    oldest: ColumnElement[bool] = table.created_at <= now - KEPT
    if kept >= KEPT:
        return oldest
    settled = table.status != "pending" if hasattr(table, "status") else true()
    return or_(oldest, and_(table.created_at <= now - kept, settled))
