"""Bounded waiting: every wait of this package ends at a deadline."""

import time
from collections.abc import Callable
from dataclasses import dataclass

POLL_INTERVAL_S = 0.01


@dataclass(frozen=True)
class Deadline:
    """A time on the monotonic clock at which all waiting ends."""

    expires_at_s: float

    @classmethod
    def after(cls, timeout_s: float) -> "Deadline":
        """Return a deadline that expires after `timeout_s` seconds."""
        return cls(time.monotonic() + timeout_s)

    @property
    def remaining_s(self) -> float:
        """The seconds until the deadline; 0 after it."""
        return max(0.0, self.expires_at_s - time.monotonic())

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Poll until the condition holds (True) or the deadline has passed (False)."""
        while not condition():
            if not self.remaining_s:
                return False
            time.sleep(POLL_INTERVAL_S)
        return True
