"""Days for which numbers are held: noted when a month is over, and when a number is given back.

Ordered by the tenant's own writes: a number that is added has the month counted when it is over,
and that has the next one counted, for as long as there are numbers.
"""

from collections.abc import Iterator
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.registry.tenants import standing
from vca.registry.usage import periods
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.usage import days, ledger
from vca.tenant.usage.ledger import Fact

COUNT = "phone_numbers.count"


def begin(session: Session, *, now: datetime) -> None:
    """A number is held: have this month counted when it is over, unless that is ordered already."""
    _order(session, periods.of(now))


def end(session: Session, number: PhoneNumber, *, now: datetime) -> None:
    """A number is given back: note its days of this month, and of the last if nobody has yet."""
    ledger.note(session, *_of_number(number.id, number.created_at, now))


def count(tenant: TenantRef, *, period: date) -> None:
    """Note the days of a month that is over, of every number that is held; order the next."""
    with enter(tenant) as session:
        if standing.own(session).tenant_status == "deleted":
            return
        held = session.execute(select(PhoneNumber.id, PhoneNumber.created_at)).all()
        ledger.note(session, *(_of_month(id, period, since, None) for id, since in held))
        if held:
            _order(session, periods.following(period))


def _order(session: Session, period: date) -> None:
    jobs.enqueue(session, COUNT, run_at=days.ends(period), lock=COUNT, period=periods.name(period))


def _of_number(phone_number_id: UUID, since: datetime, until: datetime) -> Iterator[Fact]:
    this = periods.of(until)
    for period in (periods.before(this), this):
        yield _of_month(phone_number_id, period, since, until)


def _of_month(phone_number_id: UUID, period: date, since: datetime, until: datetime | None) -> Fact:
    last = days.last_of(period)
    return Fact(
        f"phone_number:{phone_number_id}:{periods.name(period)}",
        "number_days",
        days.within(period, since=since, until=until),
        last if until is None else min(last, until),
        phone_number_id=phone_number_id,
    )
