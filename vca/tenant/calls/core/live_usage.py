"""What a tenant's live calls use at the moment: lines, budget and tokens."""

from datetime import timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.usage.cap import LiveCalls

_SELECT_LIVE_USAGE = select(func.count(), func.coalesce(func.sum(Call.reserved), 0)).where(
    text(LIVE_CONDITION), Call.simulated.is_(False)
)


def live_usage(session: Session) -> LiveCalls:
    """Return the number of real live calls and the budget that they reserve."""
    call_count, reserved = session.connection().execute(_SELECT_LIVE_USAGE).one()
    return LiveCalls(call_count, int(reserved))


def count_tokens(session: Session, *, hours: int) -> int:
    """Return how many model tokens the real calls that began in the last `hours` have used."""
    in_period = Call.started_at > func.now() - timedelta(hours=hours)
    token_sum = select(func.coalesce(func.sum(Call.tokens), 0)).where(
        in_period, Call.simulated.is_(False)
    )
    return int(session.scalar(token_sum) or 0)
