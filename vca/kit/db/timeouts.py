"""How long we wait for the server: never longer than the request that needs it.

The server ends a statement, or a wait for a lock, by its own time-outs. They cannot help when the
server is frozen, and the kernel still acknowledges its TCP; so we watch the clock as well.
"""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any

import psycopg2.extensions

from vca.kit import deadline
from vca.kit.db.errors import ServerNotResponding

CONNECT_TIMEOUT_S = 2
LOCK_TIMEOUT_MS = 2_000
STATEMENT_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
# Longer than any of the server's own, so that a server that lives is the first to speak.
MAX_WAIT_S = 4.0
# A budget that was spent elsewhere, on a busy machine, still leaves this much for a statement.
MIN_WAIT_S = 0.25
_SERVER_TIMEOUT_S = STATEMENT_TIMEOUT_MS / 1000 + MIN_WAIT_S

_max_wait_s: ContextVar[float] = ContextVar("longest_wait", default=MAX_WAIT_S)


@contextmanager
def statement_timeout_scope(seconds: float) -> Iterator[None]:
    """Let single statements inside take up to `seconds`: migrations, not requests."""
    token = _max_wait_s.set(seconds)
    try:
        yield
    finally:
        _max_wait_s.reset(token)


def _wait_for_server(connection: Any) -> None:
    """psycopg2's wait callback; psycopg2 closes a connection for which it raises."""
    started_at_s = monotonic()
    connecting = connection.status == psycopg2.extensions.STATUS_SETUP
    poller = select.poll()
    registered = None
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        events = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        if registered != (connection.fileno(), events):
            registered = (connection.fileno(), events)
            poller.register(*registered)
        if not poller.poll(_wait_limit_s(connecting=connecting) * 1000):
            server_timeout_s = CONNECT_TIMEOUT_S if connecting else _SERVER_TIMEOUT_S
            raise ServerNotResponding(
                server_at_fault=monotonic() - started_at_s >= server_timeout_s
            )


def _wait_limit_s(*, connecting: bool) -> float:
    """How long this wait may last; libpq's connect_timeout does not hold for a polled connect."""
    limit_s = CONNECT_TIMEOUT_S if connecting else _max_wait_s.get()
    remaining_s = deadline.remaining_s()
    return limit_s if remaining_s is None else max(MIN_WAIT_S, min(limit_s, remaining_s))


psycopg2.extensions.set_wait_callback(_wait_for_server)
