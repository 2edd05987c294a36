"""The database: one engine a process, bounded waits, a breaker, no transaction by accident.

psycopg2 runs in autocommit. A transaction begins with one string (its *opening*), sent when
SQLAlchemy begins, so that choosing a tenant costs no round trip of its own; without an opening a
statement is its own transaction.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import psycopg2
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vca.kit.db.breaker import Breaker
from vca.kit.db.dialect import set_begin_sql, set_commit_sql
from vca.kit.db.errors import (
    DatabaseBusy,
    DatabaseFailure,
    DatabaseUnavailable,
    constraint_name,
    failure_for,
    is_outage,
    sqlstate,
)
from vca.kit.db.pool import make_engine, record_schema_use
from vca.kit.db.schema_affinity import prefer_schema
from vca.kit.db.timeouts import statement_timeout_scope

__all__ = [
    "NAMING_CONVENTION",
    "Database",
    "DatabaseBusy",
    "DatabaseFailure",
    "DatabaseUnavailable",
    "constraint_name",
    "current_database",
    "execute_script",
    "failure_for",
    "fetch_one",
    "metadata",
    "observe_pool_wait",
    "record_schema_use",
    "set_begin_sql",
    "set_commit_sql",
    "set_current_database",
    "sqlstate",
    "statement_timeout_scope",
]

NAMING_CONVENTION = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


def metadata(schema: str | None = None) -> MetaData:
    """Metadata in which every constraint has a name (Citus needs names, and so do migrations)."""
    return MetaData(schema=schema, naming_convention=NAMING_CONVENTION)


class Database:
    """One process's way to one database."""

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = 5,
        tenants_per_connection: int = 130,
        tenant_tables: Collection[str] = (),
    ) -> None:
        self.dsn = dsn
        self.breaker = Breaker()
        self._affinity_limits = (tenants_per_connection, tenant_tables)
        self.engine = make_engine(
            dsn,
            size=pool_size,
            tenants_per_connection=tenants_per_connection,
            tenant_tables=tenant_tables,
        )

    def with_dsn(self, dsn: str, *, pool_size: int) -> "Database":
        """Another way, by `dsn`, whose connections may remember as much."""
        max_tenants, tables = self._affinity_limits
        return Database(
            dsn, pool_size=pool_size, tenants_per_connection=max_tenants, tenant_tables=tables
        )

    @contextmanager
    def connection(self, *, schema: str | None = None) -> Iterator[Connection]:
        """A pooled connection, outside any transaction until one is opened.

        One that knows `schema` already, if one is free: a wish, which enters nothing. Raises
        DatabaseUnavailable when the server is away and DatabaseBusy when it ended a statement or
        a wait, also in the middle of the block; the server's other errors as they are.
        """
        self.breaker.enter()
        report_outcome = self.breaker.undecided
        try:
            with self._check_out(schema) as connection:
                yield connection
            report_outcome = self.breaker.succeeded
        except (DBAPIError, psycopg2.Error, PoolTimeout) as error:
            if is_outage(error):
                report_outcome = self.breaker.failed
            if (failure := failure_for(error)) is not None:
                raise failure from error
            raise
        finally:
            report_outcome()

    def _check_out(self, schema: str | None) -> Connection:
        started_at_s = perf_counter()
        try:
            with prefer_schema(schema):
                return self.engine.connect()
        finally:
            _pool_wait_observer(perf_counter() - started_at_s)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


def fetch_one(
    connection: Connection, statement: str, parameters: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """The first row of one autocommitted statement, on a connection that is in no transaction.

    Past SQLAlchemy, which spends more on such a statement than the server does: for those that
    every request begins with.
    """
    dbapi_connection: Any = connection.connection
    with dbapi_connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def execute_script(connection: Connection, statements: str) -> None:
    """Statements without parameters or results, past SQLAlchemy, in one round trip.

    Raises psycopg2.Error; a transaction that the string began is then open still.
    """
    dbapi_connection: Any = connection.connection
    with dbapi_connection.cursor() as cursor:
        cursor.execute(statements)


def observe_pool_wait(observer: Callable[[float], None]) -> None:
    """Call `observer` with the seconds that each connection was waited for, in this process."""
    global _pool_wait_observer
    _pool_wait_observer = observer


def _ignore_pool_wait(seconds: float) -> None:
    """Ignore a wait that nobody observes."""


_pool_wait_observer: Callable[[float], None] = _ignore_pool_wait
_current_database: Database | None = None


def set_current_database(database: Database) -> Database:
    """Make `database` the process's own; returns it."""
    global _current_database
    _current_database = database
    return database


def current_database() -> Database:
    """The process's database; raises RuntimeError before `use`."""
    if _current_database is None:
        raise RuntimeError("no database is configured in this process")
    return _current_database
