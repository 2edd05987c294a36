"""Count the calendar days that usage of a month covers. Pure functions.

Usage by the day is recorded at the end of the month and when the resource is deleted. Every started
day (UTC) counts as a whole, including the first and the last.
"""

from datetime import UTC, date, datetime, timedelta

from vca.registry.usage import periods


def count_days(period: date, *, since: datetime, until: datetime | None = None) -> int:
    """Return on how many days of a month something existed; without `until` it still exists."""
    last = periods.next_month(period) - timedelta(1)
    first = max(period, since.astimezone(UTC).date())
    if until is not None:
        last = min(last, until.astimezone(UTC).date())
    return max(0, (last - first).days + 1)


def period_end(period: date) -> datetime:
    """Return the moment at which a month ends."""
    return periods.month_start(periods.next_month(period))


def last_moment(period: date) -> datetime:
    """Return a moment of the month's last day; a whole month's usage is recorded as of then."""
    return period_end(period) - timedelta(seconds=1)
