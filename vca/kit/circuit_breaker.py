"""A circuit breaker per endpoint: after repeated failures, calls fail at once without waiting."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from time import monotonic


class CircuitOpen(Exception):
    """The endpoint is not called now; the message says why."""


@dataclass
class _EndpointState:
    in_flight: int = 0
    failures: int = 0
    open_until: float = 0.0


class CircuitBreaker:
    """Counts consecutive failures per endpoint; thread-safe.

    After `max_failures` failures in a row, no call is allowed for `pause_s` seconds; then one call
    at a time tests the endpoint. At most `max_concurrent` calls to an endpoint run at once, so that
    a hanging endpoint does not occupy every thread. Beyond `max_endpoints`, the endpoints that
    failed longest ago are evicted first.
    """

    def __init__(
        self,
        *,
        max_failures: int = 5,
        pause_s: float = 30.0,
        max_concurrent: int = 4,
        max_endpoints: int = 1_000,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._max_failures, self._pause_s = max_failures, pause_s
        self._max_concurrent, self._max_endpoints, self._now = max_concurrent, max_endpoints, now
        self._states: dict[Hashable, _EndpointState] = {}
        self._lock = Lock()

    def begin(self, endpoint: Hashable) -> None:
        """Start a call, whose result you must report with `end`; raises CircuitOpen."""
        with self._lock:
            state = self._states.get(endpoint) or _EndpointState()
            if self._now() < state.open_until:
                raise CircuitOpen(f"it failed {state.failures} times in a row")
            if state.in_flight >= self._max_concurrent:
                raise CircuitOpen(f"{state.in_flight} calls are waiting for it")
            if state.failures >= self._max_failures:
                state.open_until = self._now() + self._pause_s
            state.in_flight += 1
            self._states[endpoint] = state

    def end(self, endpoint: Hashable, *, succeeded: bool) -> None:
        """Report the result of a call."""
        with self._lock:
            state = self._states.pop(endpoint)
            state.in_flight -= 1
            state.failures = 0 if succeeded else state.failures + 1
            failing = state.failures >= self._max_failures
            state.open_until = self._now() + self._pause_s if failing else 0.0
            if state.in_flight or state.failures:
                self._states[endpoint] = state
            self._evict_idle()

    def _evict_idle(self) -> None:
        idle = [endpoint for endpoint, state in self._states.items() if not state.in_flight]
        for endpoint in idle[: max(0, len(self._states) - self._max_endpoints)]:
            del self._states[endpoint]
