"""A circuit breaker per server: while it is down, one request at a time checks it."""

import threading
from collections.abc import Callable
from posixpath import normpath
from time import monotonic

from sqlalchemy import Engine

from vca.kit.db.errors import DatabaseUnavailable
from vca.kit.db.timeouts import CONNECT_TIMEOUT_S

DEFAULT_PORT = 5432


class Breaker:
    """Let one request at a time check whether a failed server is back.

    Without it, each thread would wait until its own deadline on a frozen server, and requests
    queued behind these threads would wait several times that long.
    """

    def __init__(self, *, pause_s: float = 0.5) -> None:
        self._pause_s = pause_s
        self._retry_at = 0.0
        self._tripped = False
        self._suspected = False
        self._success_count = 0
        self._lock = threading.Lock()
        self._probe_lock = threading.Lock()

    def enter(self, probe: Callable[[], bool]) -> None:
        """Raise DatabaseUnavailable while tripped, but let one caller through after each pause.

        If a caller has waited in vain for the server, the next one calls `probe` first, and others
        wait for its result. If that is false, and no other caller got a response in the meantime,
        the breaker opens.
        """
        if self._suspected:
            self._examine(probe)
        if not self._tripped:
            return
        with self._lock:
            if self._tripped and monotonic() < self._retry_at:
                raise DatabaseUnavailable
            self._retry_at = monotonic() + CONNECT_TIMEOUT_S + self._pause_s

    def _examine(self, probe: Callable[[], bool]) -> None:
        with self._probe_lock:
            if not self._suspected:
                return  # another caller has examined the server
            success_count = self._success_count
            responds = probe() or success_count != self._success_count
            self._suspected = False
            if not responds:
                self.failed("no_response")

    def failed(self, reason: str) -> None:
        """Record that the server is down; `reason` is one of `OUTAGE_REASONS`."""
        with self._lock:
            was_tripped, self._tripped, self._suspected = self._tripped, True, False
            self._retry_at = monotonic() + self._pause_s
        if not was_tripped:
            _outage_observer(reason)

    def suspect(self) -> None:
        """Record that a caller waited in vain; the server may be frozen, or the statement slow."""
        with self._lock:
            self._suspected = not self._tripped
            self._retry_at = monotonic() + self._pause_s

    def undecided(self) -> None:
        """Record that a caller learned nothing about the server; the next caller may try soon."""
        with self._lock:
            if self._tripped:
                self._retry_at = monotonic() + self._pause_s

    def succeeded(self) -> None:
        """Record that the server responded."""
        self._tripped = False
        self._success_count += 1


def observe_outages(observer: Callable[[str], None]) -> None:
    """Call `observer` with the reason each time a breaker of this process opens."""
    global _outage_observer
    _outage_observer = observer


def _ignore_outage(reason: str) -> None:
    """Ignore an outage; the default until an observer is set."""


_outage_observer: Callable[[str], None] = _ignore_outage
_breakers: dict[tuple[str, ...], Breaker] = {}
_breakers_lock = threading.Lock()


def breaker_for(engine: Engine) -> Breaker:
    """Return this process's breaker for the server of `engine`, whatever the database and login."""
    with _breakers_lock:
        return _breakers.setdefault(_server_address(engine), Breaker())


def _server_address(engine: Engine) -> tuple[str, ...]:
    """Return the hosts or socket directories of the server, and their ports."""
    _, options = engine.dialect.create_connect_args(engine.url)
    names = ("service", "hostaddr", "host", "port")
    service, address, host, port = (str(options.get(name) or "") for name in names)
    hosts = [_normalize_host(name) for name in (address or host).split(",")]
    return (service, *hosts, port or str(DEFAULT_PORT))


def _normalize_host(host: str) -> str:
    return normpath(host) if host.startswith("/") else host.rstrip(".").lower()
