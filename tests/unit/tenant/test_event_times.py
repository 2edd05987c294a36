"""Tests of the limits of the times that carriers report."""

from datetime import datetime, timedelta

import pytest

from vca.kit import clock
from vca.tenant.calls.core.event_times import clamp_event_time

NOW = clock.now()
STARTED = NOW - timedelta(seconds=100)
LATEST = NOW + timedelta(seconds=60)
TICK = timedelta(microseconds=1)
CENTURIES = timedelta(days=200 * 365)


@pytest.mark.parametrize(
    ("reported", "clamped"),
    [
        (STARTED, STARTED),
        (NOW, NOW),
        (LATEST, LATEST),
        (STARTED - TICK, STARTED),
        (LATEST + TICK, LATEST),
        (NOW - CENTURIES, STARTED),
        (NOW + CENTURIES, LATEST),
    ],
)
def test_an_events_time_lies_between_the_start_and_a_minute_from_now(
    reported: datetime, clamped: datetime
) -> None:
    assert clamp_event_time(reported, started_at=STARTED, now=NOW) == clamped
