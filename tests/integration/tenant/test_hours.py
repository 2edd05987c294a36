"""Opening hours: spans, holidays, midnight, changes of the clock, and validation."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import Tenant
from vca.tenant.settings.hours import ALWAYS_OPEN, DAYS, Closed, Hours, Open, parse_hours, state_at

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = [{"from": "09:00", "to": "12:00"}, {"from": "13:00", "to": "17:00"}]


def _hours(holidays: list[dict[str, Any]] | None = None, **weekly: Any) -> Hours | None:
    return parse_hours({"weekly": weekly, "holidays": holidays or []})


def _state(hours: Hours | None, local_time: str, zone: ZoneInfo = BERLIN) -> Open | Closed:
    """Return the state at a local time. An offset selects one of two moments with that time."""
    moment = datetime.fromisoformat(local_time)
    return state_at(hours, zone, moment if moment.tzinfo else moment.replace(tzinfo=zone))


def _is_open(hours: Hours | None, local_time: str) -> bool:
    return isinstance(_state(hours, local_time), Open)


def _opens_at(hours: Hours | None, local_time: str) -> str | None:
    state = _state(hours, local_time)
    assert isinstance(state, Closed)
    return state.opens_at.isoformat() if state.opens_at else None


@pytest.mark.parametrize("document", [None, {}, {"closed_action": "voicemail"}, {"holidays": []}])
def test_a_number_without_hours_is_always_open(document: dict[str, Any] | None) -> None:
    assert state_at(parse_hours(document), BERLIN, datetime(2026, 1, 1, tzinfo=UTC)) == ALWAYS_OPEN


@pytest.mark.parametrize(
    ("local_time", "is_open"),
    [
        ("2026-11-23T08:59:59", False),
        ("2026-11-23T09:00:00", True),
        ("2026-11-23T11:59:59", True),
        ("2026-11-23T12:00:00", False),
        ("2026-11-23T13:00:00", True),
        ("2026-11-23T17:00:00", False),
        ("2026-11-24T10:00:00", False),
    ],
)
def test_the_time_between_two_spans_is_closed(local_time: str, is_open: bool) -> None:
    assert _is_open(_hours(monday=OFFICE), local_time) is is_open


def test_hours_apply_in_the_time_zone() -> None:
    hours = _hours(monday=OFFICE)
    moment = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)

    assert isinstance(state_at(hours, BERLIN, moment), Open)
    assert isinstance(state_at(hours, ZoneInfo("America/New_York"), moment), Closed)


def test_a_closed_state_has_a_reason_and_the_next_opening() -> None:
    hours = _hours(monday=OFFICE, thursday=OFFICE)

    state = _state(hours, "2026-11-23T12:30:00")

    assert isinstance(state, Closed)
    assert state.reason == "outside the opening hours of monday"
    assert state.action == "closed"
    assert _opens_at(hours, "2026-11-23T12:30:00") == "2026-11-23T13:00:00+01:00"
    assert _opens_at(hours, "2026-11-23T17:00:00") == "2026-11-26T09:00:00+01:00"


def test_spans_may_be_in_any_order() -> None:
    hours = _hours(monday=OFFICE[::-1])

    assert _opens_at(hours, "2026-11-23T08:00:00") == "2026-11-23T09:00:00+01:00"


def test_hours_without_spans_have_no_next_opening() -> None:
    assert _opens_at(_hours(), "2026-11-23T12:30:00") is None


def test_a_span_of_a_whole_day_ends_at_the_next_midnight() -> None:
    hours = _hours(monday=[{"from": "00:00", "to": "24:00"}])

    assert _is_open(hours, "2026-11-23T00:00:00")
    assert _is_open(hours, "2026-11-23T23:59:59")
    assert not _is_open(hours, "2026-11-24T00:00:00")
    assert not _is_open(hours, "2026-11-22T23:59:59")


ALL_DAY = [{"from": "00:00", "to": "24:00"}]


def test_the_last_minute_of_a_day_is_open_until_24_00_and_closed_after_23_59() -> None:
    full = _hours(**dict.fromkeys(DAYS, ALL_DAY))
    short = _hours(**{day: [{"from": "00:00", "to": "23:59"}] for day in DAYS})
    minutes = [datetime(2026, 11, 23) + timedelta(minutes=minute) for minute in range(2 * 24 * 60)]

    closed_minutes = [time for time in minutes if not _is_open(short, time.isoformat())]

    assert all(_is_open(full, time.isoformat()) for time in minutes)
    assert [time.time().isoformat() for time in closed_minutes] == ["23:59:00", "23:59:00"]
    assert _opens_at(short, "2026-11-23T23:59:30") == "2026-11-24T00:00:00+01:00"


def test_a_holiday_may_be_open_until_24_00() -> None:
    holiday = {"date": "2026-12-25", "name": None, "open": [{"from": "10:00", "to": "24:00"}]}
    hours = _hours([holiday], friday=[], saturday=[])

    assert not _is_open(hours, "2026-12-25T09:59:59")
    assert _is_open(hours, "2026-12-25T23:59:59")
    assert not _is_open(hours, "2026-12-26T00:00:00")
    assert _opens_at(hours, "2026-12-25T09:00:00") == "2026-12-25T10:00:00+01:00"


@pytest.mark.parametrize(
    ("zone", "saturday", "hours_of_day"),
    [
        ("Europe/Berlin", "2026-10-24", 24),
        ("America/Havana", "2026-10-31", 24),  # on Sunday 00:00 to 00:59 comes twice
        ("Asia/Beirut", "2026-10-24", 25),  # 23:00 to 23:59 comes twice
        ("America/Santiago", "2026-09-05", 24),  # Sunday begins at 01:00
        ("Asia/Beirut", "2026-03-28", 24),
        ("Atlantic/Azores", "2026-10-24", 24),
    ],
)
def test_a_whole_day_ends_when_the_next_day_begins_although_the_clock_changes(
    zone: str, saturday: str, hours_of_day: int
) -> None:
    hours, day = _hours(saturday=ALL_DAY), date.fromisoformat(saturday)
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    moments = [start + timedelta(minutes=minute) for minute in range(-60, 27 * 60)]

    open_moments = [m for m in moments if isinstance(state_at(hours, ZoneInfo(zone), m), Open)]

    assert open_moments == [m for m in moments if m.astimezone(ZoneInfo(zone)).date() == day]
    assert len(open_moments) == hours_of_day * 60


def test_a_span_that_ends_before_it_starts_ends_on_the_next_day() -> None:
    hours = _hours(sunday=[{"from": "22:00", "to": "02:00"}])

    assert not _is_open(hours, "2026-11-22T21:59:59")
    assert _is_open(hours, "2026-11-22T23:00:00")
    assert _is_open(hours, "2026-11-23T01:59:59")
    assert not _is_open(hours, "2026-11-23T02:00:00")


def test_a_holiday_is_closed_or_has_its_own_hours() -> None:
    hours = _hours(
        [
            {"date": "2026-12-25", "name": "Christmas"},
            {"date": "2026-12-31", "open": [{"from": "09:00", "to": "11:00"}]},
        ],
        thursday=OFFICE,
        friday=OFFICE,
    )

    christmas = _state(hours, "2026-12-25T10:00:00")
    assert isinstance(christmas, Closed)
    assert christmas.reason == "closed on the holiday 2026-12-25 (Christmas)"
    assert _opens_at(hours, "2026-12-25T10:00:00") == "2026-12-31T09:00:00+01:00"
    assert _is_open(hours, "2026-12-31T10:00:00")
    eve = _state(hours, "2026-12-31T11:30:00")
    assert isinstance(eve, Closed)
    assert eve.reason == "outside the opening hours of the holiday 2026-12-31"


def test_holidays_without_weekly_hours_close_only_those_days() -> None:
    hours = parse_hours({"holidays": [{"date": "2026-12-25"}]})

    assert _is_open(hours, "2026-12-24T23:59:59")
    assert not _is_open(hours, "2026-12-25T00:00:00")
    assert _opens_at(hours, "2026-12-25T12:00:00") == "2026-12-26T00:00:00+01:00"


def test_a_holiday_is_a_day_in_the_time_zone() -> None:
    hours = parse_hours({"holidays": [{"date": "2026-12-25"}]})
    moment = datetime(2026, 12, 25, 23, 30, tzinfo=UTC)  # the 26th in Berlin

    assert isinstance(state_at(hours, BERLIN, moment), Open)
    assert isinstance(state_at(hours, ZoneInfo("UTC"), moment), Closed)


def test_a_span_continues_past_midnight_into_and_out_of_a_holiday() -> None:
    late_spans = [{"from": "18:00", "to": "02:00"}]
    hours = _hours([{"date": "2026-12-25", "open": late_spans}], thursday=late_spans)

    assert _is_open(hours, "2026-12-25T01:59:59")
    assert not _is_open(hours, "2026-12-25T02:00:00")
    assert _is_open(hours, "2026-12-26T01:59:59")
    assert not _is_open(hours, "2026-12-26T02:00:00")


# In Berlin the clock jumps from 02:00 to 03:00 on 29 March 2026, and it repeats the hour from 02:00
# to 03:00 on 25 October. Both days are Sundays.


def test_a_start_in_the_skipped_hour_is_the_moment_of_the_jump() -> None:
    hours = _hours(sunday=[{"from": "02:30", "to": "05:00"}])

    assert not _is_open(hours, "2026-03-29T01:59:59")
    assert _is_open(hours, "2026-03-29T03:00:00")
    assert _opens_at(hours, "2026-03-29T01:00:00") == "2026-03-29T03:00:00+02:00"
    assert not _is_open(hours, "2026-03-29T05:00:00")


def test_an_end_in_the_skipped_hour_is_the_moment_of_the_jump() -> None:
    hours = _hours(sunday=[{"from": "00:00", "to": "02:30"}])

    assert _is_open(hours, "2026-03-29T01:59:59")
    assert not _is_open(hours, "2026-03-29T03:00:00")


def test_a_span_within_the_skipped_hour_is_never_open_on_that_day() -> None:
    hours = _hours(sunday=[{"from": "02:15", "to": "02:45"}])

    assert not _is_open(hours, "2026-03-29T01:59:59")
    assert not _is_open(hours, "2026-03-29T03:00:00")
    assert _opens_at(hours, "2026-03-29T01:00:00") == "2026-04-05T02:15:00+02:00"


def test_a_start_in_the_repeated_hour_is_its_first_occurrence() -> None:
    hours = _hours(sunday=[{"from": "02:30", "to": "05:00"}])

    assert not _is_open(hours, "2026-10-25T02:29:59+02:00")
    assert _is_open(hours, "2026-10-25T02:30:00+02:00")
    assert _is_open(hours, "2026-10-25T02:15:00+01:00")
    assert not _is_open(hours, "2026-10-25T05:00:00+01:00")
    assert _opens_at(hours, "2026-10-25T01:00:00+02:00") == "2026-10-25T02:30:00+02:00"


def test_an_end_in_the_repeated_hour_is_its_second_occurrence() -> None:
    hours = _hours(sunday=[{"from": "00:00", "to": "02:30"}])

    assert _is_open(hours, "2026-10-25T02:45:00+02:00")
    assert _is_open(hours, "2026-10-25T02:29:59+01:00")
    assert not _is_open(hours, "2026-10-25T02:30:00+01:00")


def test_a_day_that_the_time_zone_skipped_has_no_hours() -> None:
    apia = ZoneInfo("Pacific/Apia")  # skipped 30 December 2011
    hours = _hours(friday=OFFICE, saturday=OFFICE)
    moment = datetime(2011, 12, 29, 18, tzinfo=apia)

    state = state_at(hours, apia, moment)

    assert isinstance(state, Closed)
    assert state.opens_at == datetime(2011, 12, 31, 9, tzinfo=apia)


_TIMES = st.times().map(lambda time: f"{time:%H:%M}")
_DAY = st.lists(
    st.tuples(_TIMES, _TIMES)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: {"from": pair[0], "to": pair[1]}),
    max_size=3,
)


@given(
    weekly=st.fixed_dictionaries({}, optional=dict.fromkeys(DAYS, _DAY)),
    holiday=st.dates(date(2026, 3, 25), date(2026, 4, 2)),
    moment=st.datetimes(datetime(2026, 3, 25), datetime(2026, 4, 2), timezones=st.just(UTC)),
)
def test_the_next_opening_is_the_first_open_moment(
    weekly: dict[str, Any], holiday: date, moment: datetime
) -> None:
    hours = _hours([{"date": holiday.isoformat()}], **weekly)

    state = state_at(hours, BERLIN, moment)

    if isinstance(state, Closed) and state.opens_at is not None:
        assert state.opens_at > moment
        assert isinstance(state_at(hours, BERLIN, state.opens_at), Open)
        just_before = state.opens_at.astimezone(UTC) - timedelta(seconds=1)
        assert isinstance(state_at(hours, BERLIN, just_before), Closed)
    elif isinstance(state, Closed):
        assert not any(weekly.values())


@pytest.mark.parametrize(
    ("hours", "pointer"),
    [
        ({"weekly": {"monday": [{"from": "09:00", "to": "09:00"}]}}, "/weekly/monday/0/to"),
        ({"weekly": {"monday": [{"from": "9:00", "to": "12:00"}]}}, "/weekly/monday/0/from"),
        ({"weekly": {"monday": [{"from": "24:00", "to": "12:00"}]}}, "/weekly/monday/0/from"),
        ({"weekly": {"monday": [{"from": "09:00", "to": "24:01"}]}}, "/weekly/monday/0/to"),
        ({"weekly": {"monday": [{"from": "09:00\n", "to": "12:00"}]}}, "/weekly/monday/0/from"),
        ({"weekly": {"monday": [{"from": "09:00", "to": "24:00\n"}]}}, "/weekly/monday/0/to"),
        ({"weekly": {"monday": [{"from": "09:00"}]}}, "/weekly/monday/0/to"),
        ({"weekly": {"funday": []}}, "/weekly/funday"),
        ({"weekly": {"monday": None}}, "/weekly/monday"),
        (
            {"weekly": {"monday": [*OFFICE, {"from": "11:00", "to": "14:00"}]}},
            "/weekly/monday/1",
        ),
        (
            {
                "weekly": {
                    "monday": [{"from": "22:00", "to": "03:00"}],
                    "tuesday": [{"from": "02:00", "to": "05:00"}],
                }
            },
            "/weekly/tuesday/0",
        ),
        (
            {
                "weekly": {
                    "sunday": [{"from": "22:00", "to": "03:00"}],
                    "monday": [{"from": "02:00", "to": "05:00"}],
                }
            },
            "/weekly/monday/0",
        ),
        ({"holidays": [{"date": "2026-02-30"}]}, "/holidays/0/date"),
        ({"holidays": [{"date": "20261225"}]}, "/holidays/0/date"),
        ({"holidays": [{"date": "2026-12-25\n"}]}, "/holidays/0/date"),
        ({"holidays": [{"name": "Christmas"}]}, "/holidays/0/date"),
        ({"holidays": [{"date": "2026-12-25"}, {"date": "2026-12-25"}]}, "/holidays/1/date"),
        ({"holidays": [{"date": "2026-12-25", "open": OFFICE * 2}]}, "/holidays/0/open/2"),
        ({"closed_action": "sing"}, "/closed_action"),
        ({"always": True}, "/always"),
    ],
)
def test_invalid_hours_are_rejected_with_their_pointer(
    acme: Tenant, hours: dict[str, Any], pointer: str
) -> None:
    number = acme.number()

    for path in ("/settings", f"/phone-numbers/{number['id']}"):
        response = acme.patch(path, {"hours": hours})

        assert response.status_code == 400
        assert f"/hours{pointer}" in [error["pointer"] for error in response.json["errors"]]
        assert acme.get(path).json["hours"] is None


def test_adjacent_spans_do_not_overlap(acme: Tenant) -> None:
    weekly = {day: [{"from": "00:00", "to": "24:00"}] for day in DAYS}
    weekly["monday"] = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}]

    response = acme.patch("/settings", {"hours": {"weekly": weekly}})

    assert response.status_code == 200
    assert response.json["hours"] == {"weekly": weekly}
