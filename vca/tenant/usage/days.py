"""What is counted by the day: noted when a month is over, and when the thing is gone. Pure.

A day (UTC) counts whole, the first and the last too.
"""

from datetime import UTC, date, datetime, timedelta

from vca.registry.usage import periods


def within(period: date, *, since: datetime, until: datetime | None = None) -> int:
    """How many days of a month something was there for; `until` None: it is still there."""
    last = periods.following(period) - timedelta(1)
    first = max(period, since.astimezone(UTC).date())
    if until is not None:
        last = min(last, until.astimezone(UTC).date())
    return max(0, (last - first).days + 1)


def ends(period: date) -> datetime:
    """The moment at which a month is over."""
    return periods.begins(periods.following(period))


def last_of(period: date) -> datetime:
    """A moment of the last day of a month: what was there all of it is noted as of then."""
    return ends(period) - timedelta(seconds=1)
