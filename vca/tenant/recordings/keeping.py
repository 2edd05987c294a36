"""Days for which audio is kept, in bytes: noted when a month is over, and when it is deleted.

A month is one fact for all that is there at its end, as many as there may be. Whoever deletes audio
after that, and before it is noted, notes the month's part of it: the month is held by both.
"""

from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.registry.usage import periods
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.recordings.models import Recording
from vca.tenant.usage import days, ledger
from vca.tenant.usage.ledger import Fact

COUNT = "recordings.count"


def begin(session: Session, *, now: datetime) -> None:
    """Audio is kept: have this month counted when it is over, unless that is ordered already."""
    _order(session, periods.of(now))


def end(session: Session, row: Recording, *, now: datetime) -> None:
    """Audio was deleted, and its row says so: note its days of this month, perhaps of the last."""
    this = periods.of(now)
    last = periods.before(this)
    if row.created_at < periods.begins(this):
        periods.hold(session, period=last)
        if not ledger.is_noted(session, key=_key(last)):
            ledger.note(session, _of_row(row, last, now))
    ledger.note(session, _of_row(row, this, now))


def count(tenant: TenantRef, *, period: date) -> None:
    """Note the byte-days of a month that is over of all audio that is there; order the next."""
    with enter(tenant) as session:
        periods.hold(session, period=period)
        stored = select(Recording.size_bytes, Recording.created_at).where(
            Recording.status == "stored", Recording.created_at < days.ends(period)
        )
        kept = session.execute(stored).all()
        byte_days = sum((size or 0) * days.within(period, since=since) for size, since in kept)
        at = days.last_of(period)
        ledger.note(session, Fact(_key(period), "recording_byte_days", byte_days, at))
        if kept:
            _order(session, periods.following(period))


def _order(session: Session, period: date) -> None:
    jobs.enqueue(session, COUNT, run_at=days.ends(period), lock=COUNT, period=periods.name(period))


def _of_row(row: Recording, period: date, until: datetime) -> Fact:
    byte_days = (row.size_bytes or 0) * days.within(period, since=row.created_at, until=until)
    at = min(days.last_of(period), until)
    key = f"recording:{row.id}:{periods.name(period)}"
    return Fact(key, "recording_byte_days", byte_days, at, call_id=row.call_id)


def _key(period: date) -> str:
    return f"recordings:{periods.name(period)}"
