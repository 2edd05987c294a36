"""Every crash point of the product, and a bound on how long a call may be without an end."""

POINTS = (
    "calls.ring.committed",
    "calls.answered.committed",
    "calls.turn.heard",
    "calls.turn.answered",
    "calls.turn.committed",
    "calls.transfer.started",
    "calls.transfer.returned",
    "calls.finish.noted",
    "calls.finish.committed",
    "calls.check.asking",
    "calls.dial.marked",
    "calls.dial.placed",
    "recordings.fetch.stored",
    "recordings.fetch.noted",
    "requests.committed",
)
SILENCE_S = 10
END_WITHIN_S = 60.0
# A fetch that dies at both of its points waits twice for somebody to notice.
FETCHED_WITHIN_S = 120.0
