"""Summarize the usage ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Date, cast, func, select
from sqlalchemy.orm import Session

from vca.registry.usage import periods
from vca.registry.usage.rating import UsageAmount, to_minor_units
from vca.registry.usage.schemas import usage_document
from vca.services import Services
from vca.tenant.settings import service as settings
from vca.tenant.usage import cap
from vca.tenant.usage.models import UsageFact

GroupBy = Literal["kind", "day", "phone_number"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
_SUM_COLUMNS = [
    func.sum(column) for column in (UsageFact.quantity, UsageFact.included, UsageFact.amount)
]
# Grouping besides the kind: (response field, SQL expression).
_GROUP_COLUMNS: Mapping[GroupBy, tuple[str, ColumnElement[Any]]] = {
    "day": ("day", cast(func.timezone("UTC", UsageFact.occurred_at), Date)),
    "phone_number": ("phone_number_id", UsageFact.phone_number_id.expression),
}
_NO_GROUP = {"day": None, "phone_number_id": None}


@dataclass(frozen=True)
class ReportRange:
    """A range of time from `since` up to, but not including, `until`."""

    since: datetime
    until: datetime


def build_report(
    session: Session,
    *,
    services: Services,
    time_range: ReportRange,
    group_by: GroupBy,
    now: datetime,
) -> dict[str, Any]:
    """Return the tenant's usage of a time range by kind and group, and this month's spending."""
    live = cap.live_calls(session, services=services)
    month = periods.get_month(session, period=periods.month_of(now))
    groups = _groups(session, time_range, group_by)
    amount = sum(group["amount_millionths"] for group in groups)
    return {
        **vars(time_range),
        "plan": month.plan.name,
        "plan_version": month.plan.version,
        "currency": month.plan.currency,
        "amount": to_minor_units(amount),
        "amount_millionths": amount,
        "groups": groups,
        "spend_cap": settings.get(session).spend_cap,
        "spent": to_minor_units(month.amount),
        "reserved": to_minor_units(live.reserved),
    }


def _groups(session: Session, time_range: ReportRange, group_by: GroupBy) -> list[dict[str, Any]]:
    in_range = UsageFact.occurred_at >= time_range.since, UsageFact.occurred_at < time_range.until
    if group_by == "kind":
        kind_query = select(UsageFact.kind, *_SUM_COLUMNS).where(*in_range).group_by(UsageFact.kind)
        rows = session.execute(kind_query.order_by(UsageFact.kind)).all()
        return [_NO_GROUP | usage_document(kind, _to_used(*figures)) for kind, *figures in rows]
    field_name, group_column = _GROUP_COLUMNS[group_by]
    query = (
        select(group_column, UsageFact.kind, *_SUM_COLUMNS)
        .where(*in_range)
        .group_by(group_column, UsageFact.kind)
    )
    return [
        _NO_GROUP | {field_name: group} | usage_document(kind, _to_used(*figures))
        for group, kind, *figures in session.execute(
            query.order_by(group_column, UsageFact.kind)
        ).all()
    ]


def _to_used(*figures: Any) -> UsageAmount:
    """Return the sums as integers; Postgres returns decimals for sums of bigint."""
    return UsageAmount(*map(int, figures))
