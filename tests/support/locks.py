"""Somebody else's transaction that holds something, and who waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2

# Not pg_stat_activity, which stands still for a whole transaction.
_WAITING_PIDS = (
    "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
)


@contextmanager
def open_transaction(dsn: str, statement: str) -> Iterator[Any]:
    """A transaction that has done `statement` and does not end before the block does."""
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield connection
    finally:
        with suppress(psycopg2.Error):
            connection.rollback()
        connection.close()


def waiting_pids(connection: Any) -> list[int]:
    """The server processes that wait for this connection's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING_PIDS)
        return [row[0] for row in cursor.fetchall()]


def terminate_backend(connection: Any, pid: int) -> None:
    """End a server process, as an operator or a fail-over does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
