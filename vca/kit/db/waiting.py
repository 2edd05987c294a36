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
from vca.kit.db.errors import Unanswered

CONNECT_TIMEOUT_S = 2
LOCK_TIMEOUT_MS = 2_000
STATEMENT_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
# Longer than any of the server's own, so that a server that lives is the first to speak.
WAIT_S = 4.0
# A budget that was spent elsewhere, on a busy machine, still leaves this much for a statement.
LEAST_WAIT_S = 0.25
_SERVER_NEEDS_S = STATEMENT_TIMEOUT_MS / 1000 + LEAST_WAIT_S

_longest_wait: ContextVar[float] = ContextVar("longest_wait", default=WAIT_S)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let single statements inside take up to `seconds`: migrations, not requests."""
    token = _longest_wait.set(seconds)
    try:
        yield
    finally:
        _longest_wait.reset(token)


def _wait(connection: Any) -> None:
    """psycopg2's wait callback; psycopg2 closes a connection for which it raises."""
    began_at = monotonic()
    connecting = connection.status == psycopg2.extensions.STATUS_SETUP
    poller = select.poll()
    registered = None
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        wanted = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
        if registered != (connection.fileno(), wanted):
            registered = (connection.fileno(), wanted)
            poller.register(*registered)
        if not poller.poll(_patience_s(connecting=connecting) * 1000):
            needed_s = CONNECT_TIMEOUT_S if connecting else _SERVER_NEEDS_S
            raise Unanswered(proven=monotonic() - began_at >= needed_s)


def _patience_s(*, connecting: bool) -> float:
    """How long this wait may last; libpq's connect_timeout does not hold for a polled connect."""
    longest = CONNECT_TIMEOUT_S if connecting else _longest_wait.get()
    left = deadline.remaining_s()
    return longest if left is None else max(LEAST_WAIT_S, min(longest, left))


psycopg2.extensions.set_wait_callback(_wait)
