"""What was told is kept for thirty days, so that whoever missed it can catch up."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
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


def forget(session: Session, *, tables: Sequence[Any], now: datetime) -> None:
    """Delete the rows of these tables that are old, and come back in a day.

    In any case: somebody may be telling the next event at this moment.
    """
    for table in tables:
        session.execute(delete(table).where(table.created_at <= now - KEPT))
    order(session, now=now)
