"""Limit the times that carriers report for the events of a call.

A carrier's clock may be wrong, and a tenant can sign any time with the secret of its own account.
Durations, usage and retention follow from these times.
"""

from datetime import datetime, timedelta

# The maximum by which a carrier's clock may be ahead of the server's.
MAX_LEAD = timedelta(seconds=60)


def clamp_event_time(reported_at: datetime, *, started_at: datetime, now: datetime) -> datetime:
    """Return the reported time, limited to the period in which the event can have happened.

    The period begins with the start of the call, by the server's clock, and ends shortly after
    `now`, when the event was received. It does not depend on other events, which arrive in any
    order.
    """
    return max(started_at, min(reported_at, now + MAX_LEAD))
