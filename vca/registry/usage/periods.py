"""A tenant's month: its plan, its usage, and the thresholds it was notified of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from vca.kit import db, json
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.usage.models import PlanVersion, UsagePeriod
from vca.registry.usage.rating import NO_USAGE, Plan, UsageAmount, parse_plan, total_amount

# Plain SQL is faster than the ORM, and the end of a call waits for these statements.
_MONTH_QUERY = (
    "SELECT plan, version, document, amount, kinds, told FROM public.{function}(%(period)s)"
)
_READ_MONTH, _LOCK_MONTH = (
    _MONTH_QUERY.format(function=name) for name in ("own_usage", "hold_usage")
)
_STORE_MONTH = "SELECT public.keep_usage(%(period)s, %(amount)s, %(kinds)s, %(told)s)"
_LISTING = Listing(UsagePeriod, (UsagePeriod.tenant_id,))


@dataclass(frozen=True)
class UsageMonth:
    """The usage of the session's tenant in a month, with the tenant's current plan."""

    period: date
    plan: Plan
    amount: int
    kinds: Mapping[str, UsageAmount]
    notified_thresholds: Sequence[str]

    def usage_of(self, kind: str) -> UsageAmount:
        """Return the usage of one kind; zero if there is none."""
        return self.kinds.get(kind, NO_USAGE)


def month_of(moment: datetime) -> date:
    """Return the first day of a moment's month, in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(period: date) -> date:
    """Return the first day of the following month."""
    return date(period.year + period.month // 12, period.month % 12 + 1, 1)


def previous_month(period: date) -> date:
    """Return the first day of the previous month."""
    return date(period.year - (period.month == 1), (period.month + 10) % 12 + 1, 1)


def month_start(period: date) -> datetime:
    """Return the moment at which a month begins."""
    return datetime(period.year, period.month, 1, tzinfo=UTC)


def format_month(period: date) -> str:
    """Return a month as the API writes it, such as 2026-11."""
    return f"{period:%Y-%m}"


def parse_month(name: str) -> date:
    """Parse a month that `format_month` has written."""
    return date.fromisoformat(f"{name}-01")


def get_month(session: Session, *, period: date) -> UsageMonth:
    """Return the month of the session's tenant, without a lock."""
    return _fetch_month(session, _READ_MONTH, period)


def lock_month(session: Session, *, period: date) -> UsageMonth:
    """Return the month of the session's tenant, locked until the transaction ends."""
    return _fetch_month(session, _LOCK_MONTH, period)


def store_month(
    session: Session,
    *,
    period: date,
    kinds: Mapping[str, UsageAmount],
    notified_thresholds: Sequence[str],
) -> None:
    """Store the sums of a locked month."""
    sums = {"amount": total_amount(kinds.values()), "kinds": _json_text(_sums_document(kinds))}
    parameters = {"period": period, "told": _json_text(list(notified_thresholds)), **sums}
    db.defer_statement(session.connection(), _STORE_MONTH, parameters)


def list_page(session: Session, *, page: PageRequest, period: date, **filters: UUID) -> Page:
    """Return a page of tenants' usage in a month, by the tenant's id."""
    return _LISTING.page(session, page, {"period": period, **filters})


def replace_months(
    session: Session, *, tenant_id: UUID, months: Mapping[date, Mapping[str, UsageAmount]]
) -> None:
    """Replace a tenant's months by sums of its ledger, as the owner and in no tenant.

    Thresholds stay notified.
    """
    is_tenant = UsagePeriod.tenant_id == tenant_id
    session.execute(delete(UsagePeriod).where(is_tenant, UsagePeriod.period.not_in(months)))
    currency = session.scalar(select(PlanVersion.document["currency"].astext).limit(1))
    for period, kinds in months.items():
        sums = {"amount": total_amount(kinds.values()), "kinds": _sums_document(kinds)}
        insertion = insert(UsagePeriod).values(
            period=period, tenant_id=tenant_id, currency=currency, told=[], **sums
        )
        session.execute(
            insertion.on_conflict_do_update(index_elements=["period", "tenant_id"], set_=sums)
        )


def parse_sums(kinds: Mapping[str, Sequence[int]]) -> dict[str, UsageAmount]:
    """Parse the stored sums of a month."""
    return {kind: UsageAmount(*sums) for kind, sums in kinds.items()}


def _fetch_month(session: Session, statement: str, period: date) -> UsageMonth:
    [row] = db.fetch_rows(session.connection(), statement, {"period": period})
    plan, version, document, amount, kinds, notified_thresholds = row
    plan_version = parse_plan(plan, version, document)
    return UsageMonth(period, plan_version, amount, parse_sums(kinds), notified_thresholds)


def _sums_document(kinds: Mapping[str, UsageAmount]) -> dict[str, list[int]]:
    return {kind: [usage.quantity, usage.included, usage.amount] for kind, usage in kinds.items()}


def _json_text(value: Any) -> str:
    return json.dumps(value).decode()
