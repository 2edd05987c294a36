"""Every failpoint of the product, and bounds on how long a call may go without an end."""

# Failpoints that the worker reaches without a request to the web process.
WORKER_FAILPOINTS = (
    "calls.check.asking",
    "calls.dial.marked",
    "calls.dial.placed",
    "recordings.fetch.stored",
    "recordings.fetch.noted",
    "webhooks.deliver.claimed",
    "webhooks.deliver.sent",
    "webhooks.deliver.noted",
)
FAILPOINTS = (
    "calls.ring.committed",
    "calls.answered.committed",
    "calls.turn.heard",
    "calls.turn.answered",
    "calls.turn.committed",
    "calls.transfer.started",
    "calls.transfer.returned",
    "calls.finish.noted",
    "calls.finish.committed",
    "requests.committed",
    *WORKER_FAILPOINTS,
)
CALL_SILENCE_S = 10
END_WITHIN_S = 60.0
# A fetch that is killed at both of its failpoints waits twice until the rescue job finds it.
FETCHED_WITHIN_S = 120.0
# After a kill, an endpoint stays claimed for half a minute, and several kills may follow each
# other.
DELIVERED_WITHIN_S = 240.0
