"""The ledger added up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Date, cast, func, select
from sqlalchemy.orm import Session

from vca.registry.usage import periods
from vca.registry.usage.rating import Used, minor
from vca.registry.usage.schemas import sums
from vca.tenant.settings import service as settings
from vca.tenant.usage import cap
from vca.tenant.usage.models import UsageFact

GroupBy = Literal["kind", "day", "phone_number"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
_ADDED = [func.sum(column) for column in (UsageFact.quantity, UsageFact.included, UsageFact.amount)]
# By the name of what is grouped by beside the kind: the field that says which it is.
_BY: Mapping[GroupBy, tuple[str, ColumnElement[Any]]] = {
    "day": ("day", cast(func.timezone("UTC", UsageFact.occurred_at), Date)),
    "phone_number": ("phone_number_id", UsageFact.phone_number_id.expression),
}
_NONE = {"day": None, "phone_number_id": None}


@dataclass(frozen=True)
class Span:
    """From a moment, up to but not at another."""

    since: datetime
    until: datetime


def of(session: Session, *, span: Span, group_by: GroupBy, now: datetime) -> dict[str, Any]:
    """What the session's tenant used in a time, by kind and group, and how it stands this month."""
    live = cap.live(session)
    month = periods.own(session, period=periods.of(now))
    groups = _groups(session, span, group_by)
    amount = sum(group["amount_millionths"] for group in groups)
    return {
        **vars(span),
        "plan": month.plan.name,
        "plan_version": month.plan.version,
        "currency": month.plan.currency,
        "amount": minor(amount),
        "amount_millionths": amount,
        "groups": groups,
        "spend_cap": settings.get(session).spend_cap,
        "spent": minor(month.amount),
        "reserved": minor(live.reserved),
    }


def _groups(session: Session, span: Span, group_by: GroupBy) -> list[dict[str, Any]]:
    within = UsageFact.occurred_at >= span.since, UsageFact.occurred_at < span.until
    if group_by == "kind":
        by_kind = select(UsageFact.kind, *_ADDED).where(*within).group_by(UsageFact.kind)
        found = session.execute(by_kind.order_by(UsageFact.kind)).all()
        return [_NONE | sums(kind, _used(*figures)) for kind, *figures in found]
    name, by = _BY[group_by]
    wanted = select(by, UsageFact.kind, *_ADDED).where(*within).group_by(by, UsageFact.kind)
    return [
        _NONE | {name: group} | sums(kind, _used(*figures))
        for group, kind, *figures in session.execute(wanted.order_by(by, UsageFact.kind)).all()
    ]


def _used(*figures: Any) -> Used:
    """Postgres adds whole numbers of this size up to decimals."""
    return Used(*map(int, figures))
