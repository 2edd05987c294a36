"""Hold locks in another transaction, and find the server processes that wait for it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2

# pg_stat_activity is not used, because its contents stay the same within a transaction.
_WAITING_PIDS = (
    "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
)


@contextmanager
def open_transaction(dsn: str, statement: str) -> Iterator[Any]:
    """Run a statement in a transaction and keep the transaction open until the block ends."""
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
    """Return the pids of the server processes that wait for this connection's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING_PIDS)
        return [row[0] for row in cursor.fetchall()]


def terminate_backend(connection: Any, pid: int) -> None:
    """Terminate a server process, as a database administrator or a fail-over does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
