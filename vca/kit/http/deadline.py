"""One deadline over a whole request: its look-up, connection, encryption, writing and reading."""

from collections.abc import Iterator
from contextlib import contextmanager

from vca.kit import deadline
from vca.kit.http.errors import RequestTimeout


@contextmanager
def request_deadline(timeout_s: float) -> Iterator[None]:
    """Bound every wait inside to `timeout_s` altogether, and to the budget that there is."""
    budget_s = deadline.remaining_s()
    with deadline.within(timeout_s if budget_s is None else min(timeout_s, budget_s)):
        yield


def remaining_or_raise_s() -> float:
    """The seconds that are left, more than none; raises TooSlow."""
    remaining_s = deadline.remaining_s()
    if not remaining_s:
        raise RequestTimeout("It took too long.")
    return remaining_s
