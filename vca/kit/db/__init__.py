"""The database: one engine a process, bounded waits, a breaker, no transaction by accident.

psycopg2 runs in autocommit. A transaction begins with one string (its *opening*), sent when
SQLAlchemy begins, so that choosing a tenant costs no round trip of its own; without an opening a
statement is its own transaction.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import psycopg2
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vca.kit import metrics
from vca.kit.db.breaker import Breaker
from vca.kit.db.dialect import closing, opening
from vca.kit.db.errors import (
    DatabaseBusy,
    DatabaseFailure,
    DatabaseUnavailable,
    constraint,
    failure_for,
    is_outage,
    sqlstate,
)
from vca.kit.db.pool import make_engine, note_tenant
from vca.kit.db.waiting import patience
from vca.kit.db.warmth import wanted

__all__ = [
    "NAMING",
    "Database",
    "DatabaseBusy",
    "DatabaseFailure",
    "DatabaseUnavailable",
    "closing",
    "constraint",
    "current",
    "failure_for",
    "metadata",
    "note_tenant",
    "opening",
    "patience",
    "run_one",
    "run_string",
    "sqlstate",
    "use",
]

NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


def metadata(schema: str | None = None) -> MetaData:
    """Metadata in which every constraint has a name (Citus needs names, and so do migrations)."""
    return MetaData(schema=schema, naming_convention=NAMING)


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
        self._remembers = (tenants_per_connection, tenant_tables)
        self.engine = make_engine(
            dsn,
            size=pool_size,
            tenants_per_connection=tenants_per_connection,
            tenant_tables=tenant_tables,
        )

    def elsewhere(self, dsn: str, *, pool_size: int) -> "Database":
        """Another way, by `dsn`, whose connections may remember as much."""
        most, tables = self._remembers
        return Database(dsn, pool_size=pool_size, tenants_per_connection=most, tenant_tables=tables)

    @contextmanager
    def connection(self, *, schema: str | None = None) -> Iterator[Connection]:
        """A pooled connection, outside any transaction until one is opened.

        One that knows `schema` already, if one is free: a wish, which enters nothing. Raises
        DatabaseUnavailable when the server is away and DatabaseBusy when it ended a statement or
        a wait, also in the middle of the block; the server's other errors as they are.
        """
        self.breaker.enter()
        seen = self.breaker.undecided
        try:
            with self._checked_out(schema) as connection:
                yield connection
            seen = self.breaker.succeeded
        except (DBAPIError, psycopg2.Error, PoolTimeout) as error:
            if is_outage(error):
                seen = self.breaker.failed
            if (failure := failure_for(error)) is not None:
                raise failure from error
            raise
        finally:
            seen()

    def _checked_out(self, schema: str | None) -> Connection:
        began_s = perf_counter()
        try:
            with wanted(schema):
                return self.engine.connect()
        finally:
            metrics.POOL_WAIT_SECONDS.observe(perf_counter() - began_s)

    def close(self) -> None:
        """Close every connection that is not in use."""
        self.engine.dispose()


def run_one(
    connection: Connection, statement: str, parameters: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """The first row of one autocommitted statement, on a connection that is in no transaction.

    Past SQLAlchemy, which spends more on such a statement than the server does: for those that
    every request begins with.
    """
    pooled: Any = connection.connection
    with pooled.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def run_string(connection: Connection, statements: str) -> None:
    """Statements without parameters or results, past SQLAlchemy, in one round trip.

    Raises psycopg2.Error; a transaction that the string began is then open still.
    """
    pooled: Any = connection.connection
    with pooled.cursor() as cursor:
        cursor.execute(statements)


_current: Database | None = None


def use(database: Database) -> Database:
    """Make `database` the process's own; returns it."""
    global _current
    _current = database
    return database


def current() -> Database:
    """The process's database; raises RuntimeError before `use`."""
    if _current is None:
        raise RuntimeError("no database is configured in this process")
    return _current
