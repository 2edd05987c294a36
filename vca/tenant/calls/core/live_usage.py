"""What a tenant's live calls use at the moment: lines, budget and tokens."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from vca.kit import db
from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.usage.cap import LiveCalls

# The number of real live calls, and the budget that they reserve.
SELECT_LIVE_USAGE = f"""
SELECT count(*), coalesce(sum(reserved), 0)::bigint FROM calls
WHERE {LIVE_CONDITION} AND NOT simulated
"""


def count_live_calls(session: Session) -> tuple[int, int]:
    """Return the number of real live calls and the budget that they reserve."""
    [(calls, reserved)] = db.fetch_rows(session.connection(), SELECT_LIVE_USAGE, {})
    return calls, reserved


def live_usage(session: Session) -> LiveCalls:
    """Return the number of real live calls and the budget that they reserve."""
    return LiveCalls(*count_live_calls(session))


def earlier_usage(session: Session, *, call_id: UUID) -> LiveCalls:
    """Return the real live calls that began before this call, and the budget that they reserve."""
    began_at = select(Call.created_at).filter_by(id=call_id).scalar_subquery()
    earlier_calls = select(func.count(), func.coalesce(func.sum(Call.reserved), 0)).where(
        text(LIVE_CONDITION), Call.simulated.is_(False), Call.created_at < began_at
    )
    count, reserved = session.execute(earlier_calls).one()
    return LiveCalls(count, int(reserved))


def count_tokens(session: Session, *, hours: int) -> int:
    """Return how many model tokens the real calls that began in the last `hours` have used."""
    in_period = Call.started_at > func.now() - timedelta(hours=hours)
    token_sum = select(func.coalesce(func.sum(Call.tokens), 0)).where(
        in_period, Call.simulated.is_(False)
    )
    return int(session.scalar(token_sum) or 0)
