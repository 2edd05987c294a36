"""What is counted by the day: noted when a month is over, and when the thing is gone. Pure.

A day (UTC) counts whole, the first and the last too.
"""

from datetime import UTC, date, datetime, timedelta

from vca.registry.usage import periods


def count_days(period: date, *, since: datetime, until: datetime | None = None) -> int:
    """How many days of a month something was there for; `until` None: it is still there."""
    last = periods.next_month(period) - timedelta(1)
    first = max(period, since.astimezone(UTC).date())
    if until is not None:
        last = min(last, until.astimezone(UTC).date())
    return max(0, (last - first).days + 1)


def period_end(period: date) -> datetime:
    """The moment at which a month is over."""
    return periods.month_start(periods.next_month(period))


def last_moment(period: date) -> datetime:
    """A moment of the last day of a month: what was there all of it is noted as of then."""
    return period_end(period) - timedelta(seconds=1)
