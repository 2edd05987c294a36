"""What a tenant's live calls use at the moment: lines, budget and tokens."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit import db
from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.usage.cap import LiveCalls

# The number of real live calls, and the budget that they reserve.
SELECT_LIVE_USAGE = f"""
SELECT count(*), coalesce(sum(reserved), 0)::bigint FROM calls
WHERE {LIVE_CONDITION} AND NOT simulated
"""


def live_usage(session: Session) -> LiveCalls:
    """Return the number of real live calls and the budget that they reserve."""
    [row] = db.fetch_rows(session.connection(), SELECT_LIVE_USAGE, {})
    return LiveCalls(*row)


def count_tokens(session: Session, *, hours: int) -> int:
    """Return how many model tokens the real calls that began in the last `hours` have used."""
    in_period = Call.started_at > func.now() - timedelta(hours=hours)
    token_sum = select(func.coalesce(func.sum(Call.tokens), 0)).where(
        in_period, Call.simulated.is_(False)
    )
    return int(session.scalar(token_sum) or 0)
