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
from vca.registry.usage.periods import Month
from vca.registry.usage.rating import FREE, MILLIONTHS

# A call has its first minute reserved for it.
RESERVED_S = 60


class SpendCapReached(Conflict):
    """The tenant's spend cap is reached, by what was used and what live calls have reserved."""

    code = "spend-cap-reached"

    def __init__(self, cap: int) -> None:
        super().__init__(f"The tenant's spend cap of the month is reached: {cap}.")


@dataclass(frozen=True)
class Live:
    """The tenant's live calls: how many, and the millionths that are reserved for them.

    Read before the month is.
    """

    calls: int
    reserved: int


@dataclass(frozen=True)
class Leave:
    """Whether a call may begin, and the millionths to be reserved for it."""

    given: bool
    reserve: int = 0


_live: Callable[[Session], Live] | None = None


def use(live: Callable[[Session], Live]) -> None:
    """Let `live` say which calls of a session's tenant are up."""
    global _live
    _live = live


def live(session: Session) -> Live:
    """The live calls of the session's tenant; raises RuntimeError before `use`."""
    if _live is None:
        raise RuntimeError("nobody has said which calls are live")
    return _live(session)


def ask(session: Session, *, spend_cap: int | None, live: Live, now: datetime) -> Leave:
    """Leave for one more call; `spend_cap` in minor units, None: none, and nothing is reserved."""
    if spend_cap is None:
        return Leave(True)
    month = periods.own(session, period=periods.of(now))
    given = month.amount + live.reserved < spend_cap * MILLIONTHS
    return Leave(given, _first_minute(month, live.calls) if given else 0)


def _first_minute(month: Month, calls: int) -> int:
    """What of it is not included costs; the first minutes of live calls come before it."""
    included = month.plan.included.get("call_seconds", 0)
    left = included - month.used("call_seconds").included - calls * RESERVED_S
    billable = RESERVED_S - min(RESERVED_S, max(0, left))
    return month.plan.prices.get("call_seconds", FREE).of(billable)
