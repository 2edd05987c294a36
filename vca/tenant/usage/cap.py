"""The spend cap: whether another call may begin, and what is reserved for it until it ends.

What calls have reserved is counted with the tenant's settings held, so that of calls that begin at
once each counts those before it. A call ends by one transaction, which frees what it has reserved
and writes what it cost: whoever reads the first before the second counts it twice rather than not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from vca.kit.errors import Conflict
from vca.registry.usage import periods
from vca.registry.usage.periods import UsageMonth
from vca.registry.usage.rating import FREE, MILLIONTHS

# A call has its first minute reserved for it.
RESERVED_S = 60


class SpendCapReached(Conflict):
    """The tenant's spend cap is reached, by what was used and what live calls have reserved."""

    code = "spend-cap-reached"

    def __init__(self, cap: int) -> None:
        super().__init__(f"The tenant's spend cap of the month is reached: {cap}.")


@dataclass(frozen=True)
class LiveCalls:
    """The tenant's live calls: how many, and the millionths that are reserved for them.

    Read before the month is.
    """

    calls: int
    reserved: int


@dataclass(frozen=True)
class BudgetDecision:
    """Whether a call may begin, and the millionths to be reserved for it."""

    allowed: bool
    reserve: int = 0


_count_live_calls: Callable[[Session], LiveCalls] | None = None


def set_live_call_counter(counter: Callable[[Session], LiveCalls]) -> None:
    """Let `live` say which calls of a session's tenant are up."""
    global _count_live_calls
    _count_live_calls = counter


def live_calls(session: Session) -> LiveCalls:
    """The live calls of the session's tenant; raises RuntimeError before `use`."""
    if _count_live_calls is None:
        raise RuntimeError("nobody has said which calls are live")
    return _count_live_calls(session)


def check_budget(
    session: Session, *, spend_cap: int | None, live: LiveCalls, now: datetime
) -> BudgetDecision:
    """Leave for one more call; `spend_cap` in minor units, None: none, and nothing is reserved."""
    if spend_cap is None:
        return BudgetDecision(True)
    month = periods.get_month(session, period=periods.month_of(now))
    allowed = month.amount + live.reserved < spend_cap * MILLIONTHS
    return BudgetDecision(allowed, _first_minute_cost(month, live.calls) if allowed else 0)


def _first_minute_cost(month: UsageMonth, calls: int) -> int:
    """What of it is not included costs; the first minutes of live calls come before it."""
    included_s = month.plan.included.get("call_seconds", 0)
    remaining_s = included_s - month.usage_of("call_seconds").included - calls * RESERVED_S
    billable_s = RESERVED_S - min(RESERVED_S, max(0, remaining_s))
    return month.plan.prices.get("call_seconds", FREE).amount_for(billable_s)
