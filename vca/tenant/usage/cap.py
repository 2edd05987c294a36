"""The spend cap: whether another call may begin, and the amount that it reserves until it ends.

Reserved amounts are read while the tenant's settings are locked, so that each of several calls that
begin at once counts the ones before it. The end of a call frees its reservation and records its
cost in one transaction. Read the reservations before the month: a call that ends in between is then
counted twice rather than not at all.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from vca.kit.errors import Conflict
from vca.registry.usage import periods
from vca.registry.usage.periods import UsageMonth
from vca.registry.usage.rating import FREE, MILLIONTHS
from vca.services import Services

# A call reserves the price of its first minute.
RESERVED_S = 60


class SpendCapReached(Conflict):
    """The month's usage and the reservations of live calls have reached the tenant's spend cap."""

    code = "spend-cap-reached"

    def __init__(self, cap: int) -> None:
        super().__init__(f"The tenant has reached its spend cap of the month: {cap}.")


@dataclass(frozen=True)
class LiveCalls:
    """The number of the tenant's live calls, and the millionths of a minor unit that they reserve.

    Read this before the usage month.
    """

    calls: int
    reserved: int


@dataclass(frozen=True)
class BudgetDecision:
    """Whether a call may begin, and the millionths of a minor unit to reserve for it."""

    allowed: bool
    reserve: int = 0


def live_calls(session: Session, *, services: Services) -> LiveCalls:
    """Return the live calls of the session's tenant."""
    return LiveCalls(*services.callbacks.count_live_calls(session))


def check_budget(
    session: Session, *, spend_cap: int | None, live: LiveCalls, now: datetime
) -> BudgetDecision:
    """Return whether one more call may begin.

    `spend_cap` is in minor units. None means that there is no cap; nothing is reserved then.
    """
    if spend_cap is None:
        return BudgetDecision(True)
    month = periods.get_month(session, period=periods.month_of(now))
    allowed = month.amount + live.reserved < spend_cap * MILLIONTHS
    return BudgetDecision(allowed, _first_minute_cost(month, live.calls) if allowed else 0)


def _first_minute_cost(month: UsageMonth, calls: int) -> int:
    """Return the price of the call's first minute, as far as it is not included in the plan.

    The first minutes of live calls use up the included seconds first.
    """
    included_s = month.plan.included.get("call_seconds", 0)
    remaining_s = included_s - month.usage_of("call_seconds").included - calls * RESERVED_S
    billable_s = RESERVED_S - min(RESERVED_S, max(0, remaining_s))
    return month.plan.prices.get("call_seconds", FREE).amount_for(billable_s)
