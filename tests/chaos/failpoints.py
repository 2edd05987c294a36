"""Every crash point of the product, and a bound on how long a call may be without an end."""

# Those that a worker comes to, whatever the web does.
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
# A fetch that dies at both of its points waits twice for somebody to notice.
FETCHED_WITHIN_S = 120.0
# An endpoint is somebody's for half a minute after he was killed, and several may be in a row.
DELIVERED_WITHIN_S = 240.0
