"""Opening hours: whether they include a moment, and when they begin again. Pure functions.

A span belongs to the day on which it begins, in the tenant's time zone. A span that runs past
midnight continues into a holiday, and a holiday's own span into the day after it, so that no caller
is cut off at midnight.

When the clock shows an hour twice, a span lasts from the first occurrence of its start to the
second occurrence of its end. Midnight is the end of the day, and so its first occurrence. A time
that the clock skips stands for the moment of the jump.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

ClosedAction = Literal["closed", "voicemail", "forward"]
CLOSED_ACTIONS: tuple[ClosedAction, ...] = get_args(ClosedAction)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_MINUTES = 24 * 60
# How far the next opening is searched: longer than any plausible series of holidays.
_MAX_LOOKAHEAD_DAYS = 400


@dataclass(frozen=True)
class Span:
    """A range of minutes of a day, without the end; the end may be on the next day."""

    start: int
    end: int


@dataclass(frozen=True)
class Holiday:
    """A day with its own hours; it is closed without spans."""

    name: str | None
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Hours:
    """When calls are answered; `weekly` None means at all times except on holidays."""

    weekly: Mapping[str, tuple[Span, ...]] | None
    holidays: Mapping[date, Holiday]
    closed_action: ClosedAction


@dataclass(frozen=True)
class Open:
    """Calls are answered."""

    reason: str


ALWAYS_OPEN = Open("open at all times")


@dataclass(frozen=True)
class Closed:
    """Calls are not answered; `opens_at` is None if that is not within the next 400 days."""

    action: ClosedAction
    reason: str
    opens_at: datetime | None


def parse_hours(document: Mapping[str, Any] | None) -> Hours | None:
    """Return the hours of a validated document, or None without one."""
    if document is None:
        return None
    weekly = document.get("weekly")
    return Hours(
        None if weekly is None else {day: _spans(weekly.get(day) or ()) for day in DAYS},
        {
            date.fromisoformat(holiday["date"]): Holiday(
                holiday.get("name"), _spans(holiday.get("open") or ())
            )
            for holiday in document.get("holidays") or ()
        },
        document.get("closed_action") or "closed",
    )


def merge(stored: Mapping[str, Any] | None, changes: Mapping[str, Any] | None) -> Any:
    """Apply a partial update to stored hours.

    Omitted entries keep their value, entries set to None are removed, and without a document there
    are no hours.
    """
    if changes is None:
        return None
    return {
        name: value for name, value in {**(stored or {}), **changes}.items() if value is not None
    }


def parse_span(opens: str, closes: str) -> Span:
    """Return the span of two times such as `09:00` and `24:00`.

    An end that is not later than the start is on the next day.
    """
    start, end = _minute(opens), _minute(closes)
    return Span(start, end if end > start else end + _DAY_MINUTES)


def find_overlaps(
    days: Sequence[Sequence[Span]], *, is_week: bool = False
) -> Iterator[tuple[int, int]]:
    """Yield (day, position) of each span that overlaps an earlier one, also across midnight.

    With `is_week` the last day runs into the first one.
    """
    shifted = [
        (span.start + number * _DAY_MINUTES, span.end + number * _DAY_MINUTES, number, position)
        for number, spans in enumerate(days)
        for position, span in enumerate(spans)
    ]
    in_order = sorted(shifted)
    if is_week and in_order:
        start, end, number, position = in_order[0]
        week = len(days) * _DAY_MINUTES
        in_order.append((start + week, end + week, number, position))
    for earlier, later in pairwise(in_order):
        if later[0] < earlier[1] and later[2:] != earlier[2:]:
            yield later[2], later[3]


def state_at(hours: Hours | None, zone: ZoneInfo, moment: datetime) -> Open | Closed:
    """Return whether calls are answered at `moment`; without hours they always are."""
    if hours is None or (hours.weekly is None and not hours.holidays):
        return ALWAYS_OPEN
    moment = moment.astimezone(UTC)
    today = moment.astimezone(zone).date()
    yesterday = today - timedelta(1)
    if any(start <= moment < end for start, end in _span_instants(hours, zone, (yesterday, today))):
        return Open("within the opening hours")
    return Closed(
        hours.closed_action, _closed_reason(hours, today), _opens_at(hours, zone, moment, today)
    )


def _closed_reason(hours: Hours, day: date) -> str:
    holiday = hours.holidays.get(day)
    if holiday is None:
        return f"outside the opening hours of {DAYS[day.weekday()]}"
    holiday_name = f" ({holiday.name})" if holiday.name else ""
    phrase = "outside the opening hours of" if holiday.spans else "closed on"
    return f"{phrase} the holiday {day.isoformat()}{holiday_name}"


def _opens_at(hours: Hours, zone: ZoneInfo, moment: datetime, today: date) -> datetime | None:
    """Return the next moment at which a span begins, in the time zone."""
    days = (today + timedelta(ahead) for ahead in range(_MAX_LOOKAHEAD_DAYS))
    for start, end in _span_instants(hours, zone, days):
        if moment < start < end:
            return start.astimezone(zone)
    return None


def _span_instants(
    hours: Hours, zone: ZoneInfo, days: Sequence[date] | Iterator[date]
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the start and end of each span of the days, in order."""
    for day in days:
        for span in sorted(_spans_of_day(hours, day), key=lambda span: span.start):
            start = _to_instant(day, span.start, zone, last=False)
            ends_with_day = span.end == _DAY_MINUTES
            yield start, _to_instant(day, span.end, zone, last=not ends_with_day)


def _spans_of_day(hours: Hours, day: date) -> tuple[Span, ...]:
    if day in hours.holidays:
        return hours.holidays[day].spans
    return (Span(0, _DAY_MINUTES),) if hours.weekly is None else hours.weekly[DAYS[day.weekday()]]


def _to_instant(day: date, minute: int, zone: ZoneInfo, *, last: bool) -> datetime:
    """Return when the clock shows that minute: the first time, or with `last` the second time."""
    wall_time = datetime.combine(day, time()) + timedelta(minutes=minute)
    instant = wall_time.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall_time:
        return instant
    return _gap_instant(wall_time, zone)


def _gap_instant(wall_time: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment at which the clock jumps over a skipped time (PEP 495: the gap)."""
    before, after = sorted(
        wall_time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)
    )
    offset_after = after.astimezone(zone).utcoffset()
    seconds = range(int((after - before).total_seconds()))
    gap_offset_s = bisect_left(
        seconds,
        True,
        key=lambda s: (before + timedelta(seconds=s)).astimezone(zone).utcoffset() == offset_after,
    )
    return before + timedelta(seconds=gap_offset_s)


def _spans(documents: Sequence[Mapping[str, str]]) -> tuple[Span, ...]:
    return tuple(parse_span(document["from"], document["to"]) for document in documents)


def _minute(time_text: str) -> int:
    hour, _, minute = time_text.partition(":")
    return int(hour) * 60 + int(minute)
