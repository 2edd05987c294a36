"""Database access: one engine per process, bounded waits, a circuit breaker, explicit transactions.

psycopg2 runs in autocommit mode. A transaction starts with one SQL string (see `set_begin_sql`),
which is sent when SQLAlchemy begins it. Choosing a tenant therefore costs no round trip of its own.
Without such a string, each statement is its own transaction.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import psycopg2
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vca.kit import deadline
from vca.kit.circuit_breaker import CircuitOpen
from vca.kit.db.breaker import breaker_for
from vca.kit.db.dialect import (
    defer_statement,
    first_statement_failed,
    open_cursor,
    run_transaction,
    set_begin_sql,
)
from vca.kit.db.errors import (
    DatabaseBusy,
    DatabaseFailure,
    DatabaseUnavailable,
    busy_state,
    constraint_name,
    failure_for,
    is_suspicious,
    outage_reason,
    sqlstate,
)
from vca.kit.db.pool import make_engine, record_schema_use, record_table_use
from vca.kit.db.prepared_statements import execute_prepared
from vca.kit.db.timeouts import statement_timeout_scope

__all__ = [
    "NAMING_CONVENTION",
    "Database",
    "DatabaseBusy",
    "DatabaseFailure",
    "DatabaseObserver",
    "DatabaseUnavailable",
    "constraint_name",
    "defer_statement",
    "execute_script",
    "failure_for",
    "fetch_one",
    "fetch_one_prepared",
    "fetch_rows",
    "first_statement_failed",
    "metadata",
    "record_schema_use",
    "record_table_use",
    "run_transaction",
    "set_begin_sql",
    "sqlstate",
    "statement_timeout_scope",
]

# How long the server may take to accept a connection and to answer the simplest statement.
PROBE_TIMEOUT_S = 0.5

NAMING_CONVENTION = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


def metadata(schema: str | None = None) -> MetaData:
    """Return metadata that names every constraint, as Citus and migrations require."""
    return MetaData(schema=schema, naming_convention=NAMING_CONVENTION)


def _ignore(observed: object) -> None:
    """Ignore an event."""


@dataclass(frozen=True)
class DatabaseObserver:
    """Functions to call for what happens to the connections of a database.

    - `pool_wait` gets the seconds that each checkout of a connection waited.
    - `timeout` gets the SQLSTATE of each timeout; see `BUSY_STATES` in `postgres_errors`.
    - `outage` gets the reason each time the circuit breaker of the server opens; see
      `OUTAGE_REASONS`. It is called once, however many databases of the server have it.
    """

    pool_wait: Callable[[float], None] = _ignore
    timeout: Callable[[str], None] = _ignore
    outage: Callable[[str], None] = _ignore


class Database:
    """The connection pool of one process for one database, and the circuit breaker of its server.

    All databases of one server share one breaker.
    """

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = 5,
        tenants_per_connection: int = 130,
        tenant_tables: Collection[str] = (),
        observer: DatabaseObserver | None = None,
    ) -> None:
        self.dsn = dsn
        self.observer = observer or DatabaseObserver()
        self.catalogue_limits = (tenants_per_connection, tenant_tables)
        self.engine = make_engine(
            dsn,
            size=pool_size,
            tenants_per_connection=tenants_per_connection,
            tenant_tables=tenant_tables,
        )
        self.breaker = breaker_for(self.engine)
        self.breaker.add_observer(self.observer.outage)

    def with_dsn(self, dsn: str, *, pool_size: int) -> "Database":
        """Return a database for another `dsn`, with the same catalogue limits per connection."""
        max_tenants, tables = self.catalogue_limits
        return Database(
            dsn,
            pool_size=pool_size,
            tenants_per_connection=max_tenants,
            tenant_tables=tables,
            observer=self.observer,
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Check out a pooled connection; it is in no transaction until one is begun.

        Raises DatabaseUnavailable when the server cannot be reached, and DatabaseBusy when the
        server ended a statement or a lock wait. Both can also be raised in the middle of the block.
        Other errors of the server are raised unchanged.
        """
        self._enter_breaker()
        try:
            with self._check_out() as connection:
                yield connection
        except (DBAPIError, psycopg2.Error, PoolTimeout) as error:
            self._report_error(error)
            if (failure := failure_for(error)) is not None:
                raise failure from error
            raise
        except BaseException:
            self.breaker.undecided()
            raise
        self.breaker.succeeded()

    def _report_error(self, error: Exception) -> None:
        """Tell the breaker what an error says about the server, and count timeouts."""
        if (reason := outage_reason(error)) is not None:
            self.breaker.failed(reason)
        elif is_suspicious(error):
            self.breaker.suspect()
        elif sqlstate(error) is not None:
            self.breaker.succeeded()
        else:
            self.breaker.undecided()
        if (state := busy_state(error)) is not None:
            self.observer.timeout(state)

    def _enter_breaker(self) -> None:
        try:
            self.breaker.enter(self._probe)
        except CircuitOpen:
            raise DatabaseUnavailable from None

    def _probe(self) -> bool:
        """Return whether the server accepts a new connection and executes a statement on it.

        The budget of the current request does not apply: a shorter wait would prove nothing.
        """
        return Context().run(self._execute_probe)

    def _execute_probe(self) -> bool:
        url = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            with deadline.within(PROBE_TIMEOUT_S):
                connection = psycopg2.connect(url, application_name="vca")
                try:
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT")
                finally:
                    connection.close()
        except psycopg2.Error:
            return False
        return True

    def _check_out(self) -> Connection:
        started_at_s = perf_counter()
        try:
            return self.engine.connect()
        finally:
            self.observer.pool_wait(perf_counter() - started_at_s)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


def fetch_one(
    connection: Connection, statement: str, parameters: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """Execute one autocommitted statement outside any transaction and return its first row.

    It bypasses SQLAlchemy, which costs more for such a statement than the server does. Use it for
    the statements at the start of every request.
    """
    with open_cursor(connection) as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def fetch_one_prepared(
    connection: Connection, statement: str, parameters: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """Do as `fetch_one` does, and let the server keep the plan of the statement.

    The statement must name its schemas, and the types of its parameters must follow from it.
    """
    with open_cursor(connection) as cursor:
        driver_connection: Any = connection.connection.driver_connection
        prepared_names = getattr(driver_connection, "prepared_names", None)
        execute_prepared(cursor, prepared_names, statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def fetch_rows(
    connection: Connection, statement: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Execute statements in the connection's transaction; return the rows of the last one.

    It bypasses SQLAlchemy, for statements that run while a caller waits. Raises psycopg2.Error.
    """
    record_table_use(connection, statement)
    with open_cursor(connection) as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def execute_script(connection: Connection, statements: str) -> None:
    """Execute statements without parameters or results in one round trip, bypassing SQLAlchemy.

    Raises psycopg2.Error. If the script began a transaction, that transaction is still open then.
    """
    with open_cursor(connection) as cursor:
        cursor.execute(statements)
