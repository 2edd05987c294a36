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
    if connection.status == psycopg2.extensions.STATUS_SETUP:
        _wait_for_connection(connection)
        return
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        if not _poller_for(connection, state).poll(_wait_limit_s(_max_wait_s.get()) * 1000):
            raise ServerNotResponding(is_proof=False)


def _wait_for_connection(connection: Any) -> None:
    """Wait until the connection is open; its socket can change, because a host has addresses."""
    started_at_s = monotonic()
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        if not _new_poller(connection, state).poll(_wait_limit_s(CONNECT_TIMEOUT_S) * 1000):
            waited_s = monotonic() - started_at_s
            raise ServerNotResponding(is_proof=waited_s >= CONNECT_TIMEOUT_S)


def _poller_for(connection: Any, state: int) -> select.poll:
    """Return the connection's own poller for reading, if it has one; it is made only once."""
    if state == psycopg2.extensions.POLL_READ and hasattr(connection, "read_poller"):
        poller: select.poll = connection.read_poller()
        return poller
    return _new_poller(connection, state)


def _new_poller(connection: Any, state: int) -> select.poll:
    poller = select.poll()
    is_reading = state == psycopg2.extensions.POLL_READ
    poller.register(connection.fileno(), select.POLLIN if is_reading else select.POLLOUT)
    return poller


def _wait_limit_s(limit_s: float) -> float:
    """Return the limit of this wait; libpq's connect_timeout has no effect on a polled connect."""
    remaining_s = deadline.remaining_s()
    return limit_s if remaining_s is None else max(MIN_WAIT_S, min(limit_s, remaining_s))


psycopg2.extensions.set_wait_callback(_wait_for_server)
