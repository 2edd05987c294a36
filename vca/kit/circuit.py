"""Spares callers the wait for an endpoint that does not answer: after failures it is left alone."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from time import monotonic


class Spared(Exception):
    """The endpoint is not asked now; the text says why."""


@dataclass
class _Line:
    busy: int = 0
    failures: int = 0
    closed_until: float = 0.0


class Circuit:
    """Knows of each endpoint how many failures in a row there were; shared by threads.

    After so many `failures` nobody asks it for `pause_s`, then one at a time finds out. No more
    than `at_once` ask the same one, so that one that hangs does not hold every thread. What is
    forgotten first beyond `most` endpoints has failed the longest ago.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        pause_s: float = 30.0,
        at_once: int = 4,
        most: int = 1_000,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._failures, self._pause_s = failures, pause_s
        self._at_once, self._most, self._now = at_once, most, now
        self._lines: dict[Hashable, _Line] = {}
        self._lock = Lock()

    def begin(self, endpoint: Hashable) -> None:
        """Ask, and tell by `end` what came of it; raises Spared."""
        with self._lock:
            line = self._lines.get(endpoint) or _Line()
            if self._now() < line.closed_until:
                raise Spared(f"it failed {line.failures} times in a row")
            if line.busy >= self._at_once:
                raise Spared(f"{line.busy} calls are waiting for it")
            if line.failures >= self._failures:
                line.closed_until = self._now() + self._pause_s
            line.busy += 1
            self._lines[endpoint] = line

    def end(self, endpoint: Hashable, *, worked: bool) -> None:
        """What came of it."""
        with self._lock:
            line = self._lines.pop(endpoint)
            line.busy -= 1
            line.failures = 0 if worked else line.failures + 1
            failing = line.failures >= self._failures
            line.closed_until = self._now() + self._pause_s if failing else 0.0
            if line.busy or line.failures:
                self._lines[endpoint] = line
            self._forget()

    def _forget(self) -> None:
        idle = [name for name, line in self._lines.items() if not line.busy]
        for name in idle[: max(0, len(self._lines) - self._most)]:
            del self._lines[name]
