"""A tenant's month: its plan, what was used, which thresholds were told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from vca.kit import json
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.usage.models import PlanVersion, UsagePeriod
from vca.registry.usage.rating import NO_USAGE, Plan, UsageAmount, parse_plan, total_amount

# Plain statements: a call's end waits for them.
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
    """What the session's tenant has used of a month, by the plan that it has now."""

    period: date
    plan: Plan
    amount: int
    kinds: Mapping[str, UsageAmount]
    notified_thresholds: Sequence[str]

    def usage_of(self, kind: str) -> UsageAmount:
        return self.kinds.get(kind, NO_USAGE)


def month_of(moment: datetime) -> date:
    """The month of a moment, in UTC: its first day."""
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(period: date) -> date:
    """The month after it."""
    return date(period.year + period.month // 12, period.month % 12 + 1, 1)


def previous_month(period: date) -> date:
    """The month before it."""
    return date(period.year - (period.month == 1), (period.month + 10) % 12 + 1, 1)


def month_start(period: date) -> datetime:
    """The moment at which a month begins."""
    return datetime(period.year, period.month, 1, tzinfo=UTC)


def format_month(period: date) -> str:
    """A month as the API writes it."""
    return f"{period:%Y-%m}"


def parse_month(name: str) -> date:
    """The month of a name that we have written."""
    return date.fromisoformat(f"{name}-01")


def get_month(session: Session, *, period: date) -> UsageMonth:
    """The month of the session's tenant as it stands; nothing is held."""
    return _fetch_month(session, _READ_MONTH, period)


def lock_month(session: Session, *, period: date) -> UsageMonth:
    """The same; nobody else writes to it before the caller's transaction ends."""
    return _fetch_month(session, _LOCK_MONTH, period)


def store_month(
    session: Session,
    *,
    period: date,
    kinds: Mapping[str, UsageAmount],
    notified_thresholds: Sequence[str],
) -> None:
    """Write the sums of a month that is held."""
    sums = {"amount": total_amount(kinds.values()), "kinds": _json_text(_sums_document(kinds))}
    parameters = {"period": period, "told": _json_text(list(notified_thresholds)), **sums}
    session.connection().exec_driver_sql(_STORE_MONTH, parameters)


def list_page(session: Session, *, page: PageRequest, period: date, **filters: UUID) -> Page:
    """What tenants have used in a month, by the tenant's id."""
    return _LISTING.page(session, page, {"period": period, **filters})


def replace_months(
    session: Session, *, tenant_id: UUID, months: Mapping[date, Mapping[str, UsageAmount]]
) -> None:
    """Write a tenant's months as its ledger has them; as the owner, in no tenant.

    What was told stays told.
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
    """The sums of a month as they are kept."""
    return {kind: UsageAmount(*sums) for kind, sums in kinds.items()}


def _fetch_month(session: Session, statement: str, period: date) -> UsageMonth:
    row = session.connection().exec_driver_sql(statement, {"period": period}).one()
    plan = parse_plan(row.plan, row.version, row.document)
    return UsageMonth(period, plan, row.amount, parse_sums(row.kinds), row.told)


def _sums_document(kinds: Mapping[str, UsageAmount]) -> dict[str, list[int]]:
    return {kind: [usage.quantity, usage.included, usage.amount] for kind, usage in kinds.items()}


def _json_text(value: Any) -> str:
    return json.dumps(value).decode()
