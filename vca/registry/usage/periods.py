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
from vca.registry.usage.rating import NOTHING, Plan, Used, plan_of, total

# Plain statements: a call's end waits for them.
_MONTH = "SELECT plan, version, document, amount, kinds, told FROM public.{function}(%(period)s)"
_OWN, _HOLD = (_MONTH.format(function=name) for name in ("own_usage", "hold_usage"))
_KEEP = "SELECT public.keep_usage(%(period)s, %(amount)s, %(kinds)s, %(told)s)"
_LISTING = Listing(UsagePeriod, (UsagePeriod.tenant_id,))


@dataclass(frozen=True)
class Month:
    """What the session's tenant has used of a month, by the plan that it has now."""

    period: date
    plan: Plan
    amount: int
    kinds: Mapping[str, Used]
    told: Sequence[str]

    def used(self, kind: str) -> Used:
        return self.kinds.get(kind, NOTHING)


def of(moment: datetime) -> date:
    """The month of a moment, in UTC: its first day."""
    return moment.astimezone(UTC).date().replace(day=1)


def following(period: date) -> date:
    """The month after it."""
    return date(period.year + period.month // 12, period.month % 12 + 1, 1)


def before(period: date) -> date:
    """The month before it."""
    return date(period.year - (period.month == 1), (period.month + 10) % 12 + 1, 1)


def begins(period: date) -> datetime:
    """The moment at which a month begins."""
    return datetime(period.year, period.month, 1, tzinfo=UTC)


def name(period: date) -> str:
    """A month as the API writes it."""
    return f"{period:%Y-%m}"


def named(name: str) -> date:
    """The month of a name that we have written."""
    return date.fromisoformat(f"{name}-01")


def own(session: Session, *, period: date) -> Month:
    """The month of the session's tenant as it stands; nothing is held."""
    return _month(session, _OWN, period)


def hold(session: Session, *, period: date) -> Month:
    """The same; nobody else writes to it before the caller's transaction ends."""
    return _month(session, _HOLD, period)


def keep(session: Session, *, period: date, kinds: Mapping[str, Used], told: Sequence[str]) -> None:
    """Write the sums of a month that is held."""
    sums = {"amount": total(kinds.values()), "kinds": _text(_written(kinds))}
    kept = {"period": period, "told": _text(list(told)), **sums}
    session.connection().exec_driver_sql(_KEEP, kept)


def list_page(session: Session, *, page: PageRequest, period: date, **filters: UUID) -> Page:
    """What tenants have used in a month, by the tenant's id."""
    return _LISTING.page(session, page, {"period": period, **filters})


def replace(
    session: Session, *, tenant_id: UUID, months: Mapping[date, Mapping[str, Used]]
) -> None:
    """Write a tenant's months as its ledger has them; as the owner, in no tenant.

    What was told stays told.
    """
    own = UsagePeriod.tenant_id == tenant_id
    session.execute(delete(UsagePeriod).where(own, UsagePeriod.period.not_in(months)))
    currency = session.scalar(select(PlanVersion.document["currency"].astext).limit(1))
    for period, kinds in months.items():
        sums = {"amount": total(kinds.values()), "kinds": _written(kinds)}
        adding = insert(UsagePeriod).values(
            period=period, tenant_id=tenant_id, currency=currency, told=[], **sums
        )
        session.execute(
            adding.on_conflict_do_update(index_elements=["period", "tenant_id"], set_=sums)
        )


def read(kinds: Mapping[str, Sequence[int]]) -> dict[str, Used]:
    """The sums of a month as they are kept."""
    return {kind: Used(*sums) for kind, sums in kinds.items()}


def _month(session: Session, statement: str, period: date) -> Month:
    row = session.connection().exec_driver_sql(statement, {"period": period}).one()
    plan = plan_of(row.plan, row.version, row.document)
    return Month(period, plan, row.amount, read(row.kinds), row.told)


def _written(kinds: Mapping[str, Used]) -> dict[str, list[int]]:
    return {kind: [used.quantity, used.included, used.amount] for kind, used in kinds.items()}


def _text(value: Any) -> str:
    return json.dumps(value).decode()
