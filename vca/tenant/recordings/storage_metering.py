"""Meter stored audio in byte-days: at the end of a month and when audio is deleted.

A month is one fact for all audio that exists at its end. If audio is deleted after the month's end
and before the month was recorded, the deletion records the audio's part of the month. Both lock the
usage month.
"""

from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.registry.usage import periods
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.recordings.models import Recording
from vca.tenant.usage import calendar_days, ledger, monthly_metering
from vca.tenant.usage.ledger import Fact

COUNT_JOB = "recordings.count"


def start_metering(session: Session, *, now: datetime) -> None:
    """Schedule the metering of the present month unless it is scheduled already."""
    monthly_metering.start(session, COUNT_JOB, now=now)


def resume_metering(session: Session, tenant: TenantRef, *, now: datetime) -> None:
    """Schedule the metering of an imported tenant's present month."""
    monthly_metering.resume(session, COUNT_JOB, tenant, now=now)


def stop_metering(session: Session, row: Recording, *, now: datetime) -> None:
    """Record a deleted recording's days of this month, and of the last one if that is not recorded.

    The row must already have the status `deleted`.
    """
    current_period = periods.month_of(now)
    previous_period = periods.previous_month(current_period)
    if row.created_at < periods.month_start(current_period):
        periods.lock_month(session, period=previous_period)
        if not ledger.is_recorded(session, key=_month_key(previous_period)):
            ledger.record_facts(session, _fact_of_recording(row, previous_period, now))
    ledger.record_facts(session, _fact_of_recording(row, current_period, now))


def record_month(tenant: TenantRef, *, services: Services, period: date) -> None:
    """Record the byte-days of all audio in a month that is over, and schedule the next month."""
    with tenant_session(tenant, database=services.database) as session:
        periods.lock_month(session, period=period)
        query = select(Recording.size_bytes, Recording.created_at).where(
            Recording.status == "stored", Recording.created_at < calendar_days.period_end(period)
        )
        rows = session.execute(query).all()
        byte_days = sum(
            (size or 0) * calendar_days.count_days(period, since=since) for size, since in rows
        )
        occurred_at = calendar_days.last_moment(period)
        ledger.record_facts(
            session, Fact(_month_key(period), "recording_byte_days", byte_days, occurred_at)
        )
        if rows:
            monthly_metering.schedule(session, COUNT_JOB, period=periods.next_month(period))


def _fact_of_recording(row: Recording, period: date, until: datetime) -> Fact:
    byte_days = (row.size_bytes or 0) * calendar_days.count_days(
        period, since=row.created_at, until=until
    )
    occurred_at = min(calendar_days.last_moment(period), until)
    key = f"recording:{row.id}:{periods.format_month(period)}"
    return Fact(key, "recording_byte_days", byte_days, occurred_at, call_id=row.call_id)


def _month_key(period: date) -> str:
    return f"recordings:{periods.format_month(period)}"
