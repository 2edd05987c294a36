"""How long the client waits for the server: never longer than the request that needs the result.

The server's own timeouts end statements and lock waits. They do not help when the server is frozen
while its kernel still acknowledges TCP packets, so the client measures the time as well.
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
# Longer than each of the server's timeouts, so that a responsive server reports its timeout first.
MAX_WAIT_S = 4.0
# A statement gets at least this long, even if the request's budget is spent: on a busy machine the
# time may have gone elsewhere.
MIN_WAIT_S = 0.25

_max_wait_s: ContextVar[float] = ContextVar("max_wait_s", default=MAX_WAIT_S)


@contextmanager
def statement_timeout_scope(seconds: float) -> Iterator[None]:
    """Let each statement in the block take up to `seconds`; for migrations, not for requests."""
    token = _max_wait_s.set(seconds)
    try:
        yield
    finally:
        _max_wait_s.reset(token)


def _wait_for_server(connection: Any) -> None:
    """Wait for the server; psycopg2 calls this, and closes the connection if it raises."""
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
            waited_s = monotonic() - started_at_s
            raise ServerNotResponding(is_proof=connecting and waited_s >= CONNECT_TIMEOUT_S)


def _wait_limit_s(*, connecting: bool) -> float:
    """Return the limit of this wait; libpq's connect_timeout has no effect on a polled connect."""
    limit_s = CONNECT_TIMEOUT_S if connecting else _max_wait_s.get()
    remaining_s = deadline.remaining_s()
    return limit_s if remaining_s is None else max(MIN_WAIT_S, min(limit_s, remaining_s))


psycopg2.extensions.set_wait_callback(_wait_for_server)
