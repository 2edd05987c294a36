"""One deadline for a whole request: name resolution, connection, TLS, sending and receiving."""

from collections.abc import Iterator
from contextlib import contextmanager

from vca.kit import deadline
from vca.kit.http.errors import RequestTimeout


@contextmanager
def request_deadline(timeout_s: float) -> Iterator[None]:
    """Bound all waits inside to `timeout_s` in total, and to the current time budget, if any."""
    budget_s = deadline.remaining_s()
    with deadline.within(timeout_s if budget_s is None else min(timeout_s, budget_s)):
        yield


def remaining_or_raise_s() -> float:
    """Return the remaining seconds, more than 0; raises RequestTimeout if there are none."""
    remaining_s = deadline.remaining_s()
    if not remaining_s:
        raise RequestTimeout("The request timed out.")
    return remaining_s
