"""How long to wait before a failed attempt is repeated."""

from dataclasses import dataclass
from datetime import timedelta
from random import uniform

_MAX_DIGITS = 9


@dataclass(frozen=True)
class BackOff:
    """The delays after the first, second and further failures in a row.

    Each delay varies by the share `jitter`, so that what failed together is not repeated together.
    A longer wait that the other side asked for is respected.
    """

    delays_s: tuple[float, ...]
    jitter: float = 0.2

    def allows_retry(self, failures: int) -> bool:
        """Return whether there is a delay after this many failures, so that a retry is left."""
        return failures <= len(self.delays_s)

    def delay_s(self, failures: int, *, at_least_s: float | None = None) -> float:
        """Return the seconds to wait after this many failures in a row, 1 or more.

        After more failures than there are delays, it is the last delay. `at_least_s` is what the
        other side asked for.
        """
        delay_s = self.delays_s[min(max(failures, 1), len(self.delays_s)) - 1]
        return max(delay_s * uniform(1 - self.jitter, 1 + self.jitter), at_least_s or 0.0)

    def delay(self, failures: int, *, at_least_s: float | None = None) -> timedelta:
        """Return `delay_s` as a time difference."""
        return timedelta(seconds=self.delay_s(failures, at_least_s=at_least_s))


def parse_retry_after_s(header: str | None, *, max_s: int) -> int | None:
    """Return the seconds of a `Retry-After` header, at most `max_s`; None if it has none.

    The form with a date is ignored, because it depends on two clocks.
    """
    seconds = (header or "").strip()
    is_valid = seconds.isascii() and seconds.isdigit() and len(seconds) <= _MAX_DIGITS
    return min(int(seconds), max_s) if is_valid else None
