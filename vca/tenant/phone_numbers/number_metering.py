"""Meter phone numbers: record the days of each number at the end of a month and on release.

The first number of a tenant schedules the job for the end of the month. The job schedules the next
one while there are numbers.
"""

from collections.abc import Iterator
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.registry.tenants import tenant_status
from vca.registry.usage import periods
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.usage import calendar_days, ledger, monthly_metering
from vca.tenant.usage.ledger import Fact

COUNT_JOB = "phone_numbers.count"


def start_metering(session: Session, *, now: datetime) -> None:
    """Schedule the metering of the present month unless it is scheduled already."""
    monthly_metering.start(session, COUNT_JOB, now=now)


def resume_metering(session: Session, tenant: TenantRef, *, now: datetime) -> None:
    """Schedule the metering of an imported tenant's present month."""
    monthly_metering.resume(session, COUNT_JOB, tenant, now=now)


def stop_metering(session: Session, number: PhoneNumber, *, now: datetime) -> None:
    """Record a released number's days of this month, and of the last one if they are missing."""
    ledger.record_facts(session, *_facts_of_number(number.id, number.created_at, now))


def record_month(tenant: TenantRef, *, services: Services, period: date) -> None:
    """Record the days of all numbers in a month that is over, and schedule the next month."""
    with tenant_session(tenant, database=services.database) as session:
        if tenant_status.get_tenant_status(session).tenant_status == "deleted":
            return
        numbers = session.execute(select(PhoneNumber.id, PhoneNumber.created_at)).all()
        ledger.record_facts(
            session, *(_fact_of_month(id, period, since, None) for id, since in numbers)
        )
        if numbers:
            monthly_metering.schedule(session, COUNT_JOB, period=periods.next_month(period))


def _facts_of_number(phone_number_id: UUID, since: datetime, until: datetime) -> Iterator[Fact]:
    current_period = periods.month_of(until)
    for period in (periods.previous_month(current_period), current_period):
        yield _fact_of_month(phone_number_id, period, since, until)


def _fact_of_month(
    phone_number_id: UUID, period: date, since: datetime, until: datetime | None
) -> Fact:
    last_moment = calendar_days.last_moment(period)
    return Fact(
        f"phone_number:{phone_number_id}:{periods.format_month(period)}",
        "number_days",
        calendar_days.count_days(period, since=since, until=until),
        last_moment if until is None else min(last_moment, until),
        phone_number_id=phone_number_id,
    )
