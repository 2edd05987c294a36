"""Which of the times that carriers report are believed.

A carrier's clock may be wrong, and a tenant can sign any time with the secret of its own account.
Durations, usage and retention follow from these times.
"""

from datetime import datetime, timedelta

# How far a carrier's clock may be ahead of ours.
MAX_LEAD = timedelta(seconds=60)


def believable_time(reported_at: datetime, *, started_at: datetime, now: datetime) -> datetime:
    """Return the time that a carrier reports, or the nearest one that the event can have.

    Nothing happens before the call has started, which is a time of our own clock, nor much later
    than `now`, when the event was received. No other event of the call matters: they arrive in any
    order.
    """
    return max(started_at, min(reported_at, now + MAX_LEAD))
