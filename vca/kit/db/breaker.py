"""The circuit breaker of each database server.

Without it, each thread would wait until its own deadline on a frozen server, and requests queued
behind these threads would wait several times that long. A single failure opens it, because the
caller reports only errors that show that the server is down; see `errors.outage_reason`.
"""

import threading
from posixpath import normpath

from sqlalchemy import Engine

from vca.kit.circuit_breaker import CircuitBreaker
from vca.kit.db.timeouts import CONNECT_TIMEOUT_S

DEFAULT_PORT = 5432


def create_breaker(*, pause_s: float = 0.5) -> CircuitBreaker:
    """Return a breaker for one server; a trial takes at most as long as a connection."""
    return CircuitBreaker(max_failures=1, pause_s=pause_s, trial_s=CONNECT_TIMEOUT_S + pause_s)


_breakers: dict[tuple[str, ...], CircuitBreaker] = {}
_breakers_lock = threading.Lock()


def breaker_for(engine: Engine) -> CircuitBreaker:
    """Return this process's breaker for the server of `engine`, whatever the database and login."""
    with _breakers_lock:
        return _breakers.setdefault(_server_address(engine), create_breaker())


def _server_address(engine: Engine) -> tuple[str, ...]:
    """Return the hosts or socket directories of the server, and their ports."""
    _, options = engine.dialect.create_connect_args(engine.url)
    names = ("service", "hostaddr", "host", "port")
    service, address, host, port = (str(options.get(name) or "") for name in names)
    hosts = [_normalize_host(name) for name in (address or host).split(",")]
    return (service, *hosts, port or str(DEFAULT_PORT))


def _normalize_host(host: str) -> str:
    return normpath(host) if host.startswith("/") else host.rstrip(".").lower()
