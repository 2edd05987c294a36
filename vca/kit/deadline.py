"""Deadlines: fixed moments at which all waiting ends, and the time budget of a request or job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic, sleep

POLL_INTERVAL_S = 0.01


class DeadlineExceeded(TimeoutError):
    """The time for something is over."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock."""

    ends_at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline that ends after `seconds`."""
        return cls(monotonic() + seconds)

    @classmethod
    def within_budget(cls, seconds: float) -> "Deadline":
        """Return the deadline that ends after `seconds`, or earlier with the current budget."""
        budget = _current_budget.get()
        return cls.after(seconds) if budget is None else budget.shortened(seconds)

    @property
    def remaining_s(self) -> float:
        """The seconds until the deadline; 0 after it."""
        return max(0.0, self.ends_at - monotonic())

    def require_s(self) -> float:
        """Return the remaining seconds, more than 0; raise DeadlineExceeded if there are none.

        A socket with a timeout of 0 would not wait, and would not report a timeout either.
        """
        remaining_s = self.ends_at - monotonic()
        if remaining_s <= 0:
            raise DeadlineExceeded("the deadline has passed")
        return remaining_s

    def shortened(self, seconds: float) -> "Deadline":
        """Return the earlier one of this deadline and that after `seconds`."""
        return Deadline(min(self.ends_at, monotonic() + seconds))

    def wait_until(
        self, condition: Callable[[], bool], *, poll_interval_s: float = POLL_INTERVAL_S
    ) -> bool:
        """Poll until the condition holds (True) or the deadline has passed (False)."""
        while not condition():
            if not self.remaining_s:
                return False
            sleep(min(poll_interval_s, self.remaining_s))
        return True


_current_budget: ContextVar[Deadline | None] = ContextVar("time_budget", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Set the budget of the block: every wait that respects it ends `seconds` from now."""
    token = _current_budget.set(Deadline.after(seconds))
    try:
        yield
    finally:
        _current_budget.reset(token)


def remaining_s() -> float | None:
    """Return the remaining seconds, 0 if the budget is used up, or None without a budget."""
    budget = _current_budget.get()
    return None if budget is None else budget.remaining_s
