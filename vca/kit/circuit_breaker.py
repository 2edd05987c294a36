"""Circuit breakers: while a server is down, calls fail at once, and one at a time tests it."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from time import monotonic


class CircuitOpen(Exception):
    """The server is not called now; the message says why."""


class CircuitBreaker:
    """The circuit breaker of one server; thread-safe.

    It opens after `max_failures` failures in a row. Then no call is allowed for `pause_s` seconds.
    After that one call tests the server, and others follow if its result is missing for `trial_s`.
    The caller decides what a failure is: it reports each result with `failed`, `succeeded`,
    `undecided` or `suspect`.
    """

    def __init__(
        self,
        *,
        max_failures: int,
        pause_s: float,
        trial_s: float,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._max_failures, self._pause_s, self._trial_s = max_failures, pause_s, trial_s
        self._now = now
        self._observers: set[Callable[[str], None]] = set()
        self._failures = 0
        self._retry_at = 0.0
        self._suspected = False
        self._success_count = 0
        self._lock = Lock()
        self._probe_lock = Lock()

    def add_observer(self, observer: Callable[[str], None]) -> None:
        """Call `observer` with the reason each time the circuit opens; once if added twice."""
        self._observers.add(observer)

    @property
    def has_failures(self) -> bool:
        """Whether the last call failed."""
        return self._failures > 0

    def enter(self, probe: Callable[[], bool] | None = None) -> None:
        """Raise CircuitOpen while the circuit is open, but let one call through after each pause.

        If a caller has reported a suspicion, the next one calls `probe` first, and others wait for
        its result. If that is false, and no other call got a response in the meantime, the circuit
        opens.
        """
        if self._suspected and probe is not None:
            self._examine(probe)
        if self._failures < self._max_failures:
            return
        with self._lock:
            if self._failures < self._max_failures:
                return  # another call has succeeded
            if self._now() < self._retry_at:
                raise CircuitOpen(f"it failed {self._failures} times in a row")
            self._retry_at = self._now() + self._trial_s

    def _examine(self, probe: Callable[[], bool]) -> None:
        with self._probe_lock:
            if not self._suspected:
                return  # another caller has examined the server
            success_count = self._success_count
            responds = probe() or success_count != self._success_count
            self._suspected = False
            if not responds:
                self.failed("no_response")

    def failed(self, reason: str = "") -> None:
        """Record a failure that shows that the server is down."""
        with self._lock:
            self._failures += 1
            self._suspected = False
            self._retry_at = self._now() + self._pause_s
            has_opened = self._failures == self._max_failures
        if has_opened:
            for observer in tuple(self._observers):
                observer(reason)

    def suspect(self) -> None:
        """Record that a caller waited in vain; the server may be down, or the request slow."""
        with self._lock:
            self._suspected = self._failures < self._max_failures
            self._retry_at = self._now() + self._pause_s

    def undecided(self) -> None:
        """Record that a call learned nothing about the server; the next call may try soon."""
        with self._lock:
            if self._failures >= self._max_failures:
                self._retry_at = self._now() + self._pause_s

    def succeeded(self) -> None:
        """Record that the server responded."""
        # Without the lock, because this runs for each use of a connection.
        self._failures = 0
        self._success_count += 1


@dataclass
class _Endpoint:
    breaker: CircuitBreaker
    in_flight: int = 0


class EndpointBreakers:
    """A circuit breaker for each endpoint, which also limits the concurrent calls; thread-safe.

    At most `max_concurrent` calls to an endpoint run at once, so that a hanging endpoint does not
    occupy every thread. Beyond `max_endpoints`, the endpoints that failed longest ago are evicted
    first.
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
        self._max_failures, self._pause_s, self._now = max_failures, pause_s, now
        self._max_concurrent, self._max_endpoints = max_concurrent, max_endpoints
        self._endpoints: dict[Hashable, _Endpoint] = {}
        self._lock = Lock()

    def begin(self, key: Hashable) -> None:
        """Start a call, whose result you must report with `end`; raises CircuitOpen."""
        with self._lock:
            endpoint = self._endpoints.get(key) or _Endpoint(self._create_breaker())
            if endpoint.in_flight >= self._max_concurrent:
                raise CircuitOpen(f"{endpoint.in_flight} calls are waiting for it")
            endpoint.breaker.enter()
            endpoint.in_flight += 1
            self._endpoints[key] = endpoint

    def end(self, key: Hashable, *, succeeded: bool) -> None:
        """Report the result of a call."""
        with self._lock:
            endpoint = self._endpoints.pop(key)
            endpoint.in_flight -= 1
            if succeeded:
                endpoint.breaker.succeeded()
            else:
                endpoint.breaker.failed()
            if endpoint.in_flight or endpoint.breaker.has_failures:
                self._endpoints[key] = endpoint
            self._evict_idle()

    def _create_breaker(self) -> CircuitBreaker:
        return CircuitBreaker(
            max_failures=self._max_failures,
            pause_s=self._pause_s,
            trial_s=self._pause_s,
            now=self._now,
        )

    def _evict_idle(self) -> None:
        idle = [key for key, endpoint in self._endpoints.items() if not endpoint.in_flight]
        for key in idle[: max(0, len(self._endpoints) - self._max_endpoints)]:
            del self._endpoints[key]
