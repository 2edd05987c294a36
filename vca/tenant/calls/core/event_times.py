"""Which of the times that carriers report are believed.

A carrier's clock may be wrong, and whoever knows the secret of a tenant's account can sign any
time. Durations, usage and retention follow from these times.
"""

from datetime import datetime, timedelta

from vca.telephony.types import CallEvent
from vca.tenant.calls.core.state_machine import LifecycleState

# How far a carrier's clock may be ahead of ours.
MAX_LEAD = timedelta(seconds=60)


def believable_time(event: CallEvent, state: LifecycleState, *, now: datetime) -> datetime:
    """Return the event's time, or the nearest one that it can have.

    Nothing happens before the call has started, which is a time of our own clock, nor much later
    than `now`, when the event was received. A call ends after it was answered.
    """
    earliest, latest = state.started_at, now + MAX_LEAD
    if event.event_type in ("ENDED", "FAILED"):
        earliest = state.answered_at or earliest
    elif state.ended_at is not None:
        latest = min(latest, state.ended_at)
    return max(earliest, min(event.timestamp, latest))
