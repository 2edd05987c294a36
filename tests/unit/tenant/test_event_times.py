"""Tests of which times of carriers are believed."""

from datetime import datetime, timedelta

import pytest

from vca.kit import clock
from vca.telephony.types import CallEvent, EventType
from vca.tenant.calls.core.event_times import believable_time
from vca.tenant.calls.core.state_machine import LifecycleState

NOW = clock.now()
STARTED, ANSWERED = NOW - timedelta(seconds=100), NOW - timedelta(seconds=90)
ENDED = NOW - timedelta(seconds=10)
LATEST = NOW + timedelta(seconds=60)
PAST = STARTED - timedelta(microseconds=1)
FUTURE = LATEST + timedelta(microseconds=1)
CENTURIES = timedelta(days=200 * 365)
RINGING = LifecycleState("ringing", STARTED)
IN_PROGRESS = LifecycleState("in_progress", STARTED, ANSWERED)
OVER = LifecycleState("completed", STARTED, ANSWERED, ENDED, "caller_hangup")


@pytest.mark.parametrize(
    ("event_type", "state", "reported", "believed"),
    [
        ("ENDED", IN_PROGRESS, ENDED, ENDED),
        ("ENDED", IN_PROGRESS, LATEST, LATEST),
        ("ENDED", IN_PROGRESS, FUTURE, LATEST),
        ("ENDED", IN_PROGRESS, NOW + CENTURIES, LATEST),
        ("ENDED", IN_PROGRESS, STARTED, ANSWERED),
        ("FAILED", IN_PROGRESS, NOW - CENTURIES, ANSWERED),
        ("FAILED", RINGING, PAST, STARTED),
        ("ENDED", OVER, FUTURE, LATEST),
        ("ANSWERED", RINGING, PAST, STARTED),
        ("ANSWERED", RINGING, FUTURE, LATEST),
        ("ANSWERED", OVER, NOW, ENDED),
        ("RINGING", RINGING, PAST, STARTED),
        ("INITIATED", RINGING, ANSWERED, ANSWERED),
    ],
)
def test_an_events_time_lies_between_the_start_or_answer_and_a_minute_from_now(
    event_type: EventType, state: LifecycleState, reported: datetime, believed: datetime
) -> None:
    event = CallEvent(event_type, "a-call", reported, "a-key")

    assert believable_time(event, state, now=NOW) == believed
