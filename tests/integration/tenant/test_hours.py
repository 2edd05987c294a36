"""Opening hours: breaks, holidays, midnight, and the two nights on which the clock is changed."""

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


def _state(hours: Hours | None, at: str, zone: ZoneInfo = BERLIN) -> Open | Closed:
    """The state when the zone's clock shows that time; an offset tells which of two."""
    moment = datetime.fromisoformat(at)
    return state_at(hours, zone, moment if moment.tzinfo else moment.replace(tzinfo=zone))


def _is_open(hours: Hours | None, at: str) -> bool:
    return isinstance(_state(hours, at), Open)


def _opens_at(hours: Hours | None, at: str) -> str | None:
    state = _state(hours, at)
    assert isinstance(state, Closed)
    return state.opens_at.isoformat() if state.opens_at else None


@pytest.mark.parametrize("document", [None, {}, {"closed_action": "voicemail"}, {"holidays": []}])
def test_without_hours_it_is_open_at_all_times(document: dict[str, Any] | None) -> None:
    assert state_at(parse_hours(document), BERLIN, datetime(2026, 1, 1, tzinfo=UTC)) == ALWAYS_OPEN


@pytest.mark.parametrize(
    ("at", "is_open"),
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
def test_what_lies_between_two_spans_is_a_break(at: str, is_open: bool) -> None:
    assert _is_open(_hours(monday=OFFICE), at) is is_open


def test_the_clock_is_the_zones() -> None:
    hours = _hours(monday=OFFICE)
    at = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)

    assert isinstance(state_at(hours, BERLIN, at), Open)
    assert isinstance(state_at(hours, ZoneInfo("America/New_York"), at), Closed)


def test_it_says_when_it_opens_and_why_it_is_closed() -> None:
    hours = _hours(monday=OFFICE, thursday=OFFICE)

    state = _state(hours, "2026-11-23T12:30:00")

    assert isinstance(state, Closed)
    assert state.reason == "outside the opening hours of monday"
    assert state.action == "closed"
    assert _opens_at(hours, "2026-11-23T12:30:00") == "2026-11-23T13:00:00+01:00"
    assert _opens_at(hours, "2026-11-23T17:00:00") == "2026-11-26T09:00:00+01:00"


def test_spans_need_not_come_in_order() -> None:
    hours = _hours(monday=OFFICE[::-1])

    assert _opens_at(hours, "2026-11-23T08:00:00") == "2026-11-23T09:00:00+01:00"


def test_hours_that_never_open_say_so() -> None:
    assert _opens_at(_hours(), "2026-11-23T12:30:00") is None


def test_all_day_is_until_the_next_midnight() -> None:
    hours = _hours(monday=[{"from": "00:00", "to": "24:00"}])

    assert _is_open(hours, "2026-11-23T00:00:00")
    assert _is_open(hours, "2026-11-23T23:59:59")
    assert not _is_open(hours, "2026-11-24T00:00:00")
    assert not _is_open(hours, "2026-11-22T23:59:59")


def test_a_span_that_does_not_end_later_ends_on_the_next_day() -> None:
    hours = _hours(sunday=[{"from": "22:00", "to": "02:00"}])

    assert not _is_open(hours, "2026-11-22T21:59:59")
    assert _is_open(hours, "2026-11-22T23:00:00")
    assert _is_open(hours, "2026-11-23T01:59:59")
    assert not _is_open(hours, "2026-11-23T02:00:00")


def test_a_holiday_is_closed_or_has_hours_of_its_own() -> None:
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


def test_holidays_alone_close_those_days_only() -> None:
    hours = parse_hours({"holidays": [{"date": "2026-12-25"}]})

    assert _is_open(hours, "2026-12-24T23:59:59")
    assert not _is_open(hours, "2026-12-25T00:00:00")
    assert _opens_at(hours, "2026-12-25T12:00:00") == "2026-12-26T00:00:00+01:00"


def test_a_holiday_is_the_day_in_the_zone() -> None:
    hours = parse_hours({"holidays": [{"date": "2026-12-25"}]})
    last_minute = datetime(2026, 12, 25, 23, 30, tzinfo=UTC)  # the 26th in Berlin

    assert isinstance(state_at(hours, BERLIN, last_minute), Open)
    assert isinstance(state_at(hours, ZoneInfo("UTC"), last_minute), Closed)


def test_a_span_runs_past_midnight_into_a_holiday_and_out_of_one() -> None:
    late = [{"from": "18:00", "to": "02:00"}]
    hours = _hours([{"date": "2026-12-25", "open": late}], thursday=late)

    assert _is_open(hours, "2026-12-25T01:59:59")
    assert not _is_open(hours, "2026-12-25T02:00:00")
    assert _is_open(hours, "2026-12-26T01:59:59")
    assert not _is_open(hours, "2026-12-26T02:00:00")


# In Berlin on 29 March 2026 the clock jumps from 02:00 to 03:00, and on 25 October it shows the
# hour from 02:00 to 03:00 twice. Both are Sundays.


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


def test_a_span_from_the_doubled_hour_begins_when_the_clock_first_shows_it() -> None:
    hours = _hours(sunday=[{"from": "02:30", "to": "05:00"}])

    assert not _is_open(hours, "2026-10-25T02:29:59+02:00")
    assert _is_open(hours, "2026-10-25T02:30:00+02:00")
    assert _is_open(hours, "2026-10-25T02:15:00+01:00")
    assert not _is_open(hours, "2026-10-25T05:00:00+01:00")
    assert _opens_at(hours, "2026-10-25T01:00:00+02:00") == "2026-10-25T02:30:00+02:00"


def test_a_span_until_the_doubled_hour_ends_when_the_clock_last_shows_it() -> None:
    hours = _hours(sunday=[{"from": "00:00", "to": "02:30"}])

    assert _is_open(hours, "2026-10-25T02:45:00+02:00")
    assert _is_open(hours, "2026-10-25T02:29:59+01:00")
    assert not _is_open(hours, "2026-10-25T02:30:00+01:00")


def test_a_day_that_a_zone_left_out_has_no_hours() -> None:
    apia = ZoneInfo("Pacific/Apia")  # went from 29 to 31 December 2011
    hours = _hours(friday=OFFICE, saturday=OFFICE)
    before = datetime(2011, 12, 29, 18, tzinfo=apia)

    state = state_at(hours, apia, before)

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
    at=st.datetimes(datetime(2026, 3, 25), datetime(2026, 4, 2), timezones=st.just(UTC)),
)
def test_it_opens_when_it_says_and_not_before(
    weekly: dict[str, Any], holiday: date, at: datetime
) -> None:
    hours = _hours([{"date": holiday.isoformat()}], **weekly)

    state = state_at(hours, BERLIN, at)

    if isinstance(state, Closed) and state.opens_at is not None:
        assert state.opens_at > at
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
def test_hours_that_cannot_be_kept_are_named(
    acme: Tenant, hours: dict[str, Any], pointer: str
) -> None:
    number = acme.number()

    for path in ("/settings", f"/phone-numbers/{number['id']}"):
        refused = acme.patch(path, {"hours": hours})

        assert refused.status_code == 400
        assert f"/hours{pointer}" in [error["pointer"] for error in refused.json["errors"]]
        assert acme.get(path).json["hours"] is None


def test_spans_that_touch_do_not_overlap(acme: Tenant) -> None:
    weekly = {day: [{"from": "00:00", "to": "24:00"}] for day in DAYS}
    weekly["monday"] = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}]

    kept = acme.patch("/settings", {"hours": {"weekly": weekly}})

    assert kept.status_code == 200
    assert kept.json["hours"] == {"weekly": weekly}
