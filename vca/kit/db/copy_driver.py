"""Database access for commands that copy or drop many rows: psycopg 3, COPY, no pool.

psycopg2 cannot COPY under the wait callback of `timeouts`, and its statement timeouts fit HTTP
requests. Here statements have no time limit; only waits for locks do.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg.errors
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.kit import json
from vca.kit.db import Database, DatabaseObserver
from vca.kit.db.breaker import breaker_for
from vca.kit.db.errors import DatabaseUnavailable, is_outage_state
from vca.kit.errors import Conflict

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_MS = 10_000
# A suspended command (SIGSTOP) must not hold back vacuum for ever.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 300_000
# The server sends one message per row, which is too little to compress or hash at a time.
BLOCK_BYTES = 128 * 1024


class LockWaitTimeout(Conflict):
    """Another session held a lock for longer than a command waits."""

    code = "busy"

    def __init__(self) -> None:
        super().__init__("These tables are locked by another operation. Try again.")


class BulkDatabase(Database):
    """A `Database` that opens a new connection each time and closes it after use."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.engine = create_engine(
            make_url(dsn).set(drivername="postgresql+psycopg"),
            poolclass=NullPool,
            hide_parameters=True,
            use_native_hstore=False,
            json_serializer=lambda value: json.dumps(value).decode(),
            json_deserializer=json.loads,
            connect_args={
                "application_name": "vca bulk",
                "connect_timeout": CONNECT_TIMEOUT_S,
                "client_encoding": "utf8",
                "prepare_threshold": None,
                "options": "-c timezone=UTC -c datestyle=ISO -c intervalstyle=iso_8601"
                " -c bytea_output=hex -c extra_float_digits=1 -c statement_timeout=0"
                f" -c lock_timeout={LOCK_TIMEOUT_MS}"
                f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}",
            },
        )
        self.observer = DatabaseObserver()
        self.breaker = breaker_for(self.engine)

    @contextmanager
    def connection(self, *, schema: str | None = None) -> Iterator[Any]:
        """Open a new connection, which has seen no schema yet.

        Raises DatabaseUnavailable, and LockWaitTimeout if a lock was not granted in time.
        """
        self._enter_breaker()
        try:
            with self.engine.connect() as connection:
                self.breaker.succeeded()
                yield connection
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if isinstance(cause, psycopg.errors.LockNotAvailable):
                raise LockWaitTimeout from error
            if isinstance(cause, psycopg.OperationalError) and (reason := _outage_reason(cause)):
                self.breaker.failed(reason)
                raise DatabaseUnavailable from error
            raise


def copy_out(session: Session, statement: str, write: Callable[[bytes], object]) -> int:
    """Pass the output of `COPY … TO STDOUT` to `write` in blocks; return the number of rows."""
    pending: list[bytes] = []
    pending_bytes = 0
    with _driver_connection(session).cursor() as cursor:
        with cursor.copy(statement.encode()) as copy:
            for row in copy:
                pending.append(bytes(row))
                pending_bytes += len(row)
                if pending_bytes >= BLOCK_BYTES:
                    write(b"".join(pending))
                    pending, pending_bytes = [], 0
        write(b"".join(pending))
        return cursor.rowcount


def copy_in(session: Session, statement: str, blocks: Iterable[bytes]) -> int:
    """Feed `COPY … FROM STDIN` and return the number of rows; raise psycopg.Error for invalid data.

    An error raised by `blocks` aborts the COPY, and with it the transaction.
    """
    with _driver_connection(session).cursor() as cursor:
        with cursor.copy(statement.encode()) as copy:
            for block in blocks:
                copy.write(block)
        return cursor.rowcount


def _driver_connection(session: Session) -> "psycopg.Connection[Any]":
    session.flush()
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection


def _outage_reason(error: psycopg.OperationalError) -> str | None:
    """Return why the breaker must open; a failed or lost connection has no SQLSTATE."""
    if error.sqlstate is None:
        return "connection_failed"
    return "server_error" if is_outage_state(error.sqlstate) else None
