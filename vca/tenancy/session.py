"""Open a transaction: inside one tenant's schema, or outside of all of them.

This is the only module that sets `search_path` and the role. Every setting is `SET LOCAL`, so
nothing outlives the transaction, also behind a connection pooler in transaction mode. `public` is
not in a tenant's path: a missing schema would otherwise silently resolve to it.

Every transaction in a tenant begins with an identity check: the schema itself says to which tenant
it belongs. All of this is sent together with the first statement, in one round trip, and that
statement is executed only if the check succeeded.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg2
from sqlalchemy import Connection, Dialect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.db import Database
from vca.observability import log, metrics
from vca.tenancy.database import TenantDatabase
from vca.tenancy.roles import Roles
from vca.tenancy.schema import TenantRef

# SQLSTATEs of a failed identity check. 22P02 (invalid text representation) and 22012 (division by
# zero): the schema belongs to another tenant. 42704 (undefined object) and 42P01 (undefined table):
# there is no such schema, or no tenant was entered. 42501: insufficient privilege. 22023 (invalid
# parameter value): there is no such role.
_IDENTITY_CHECK_STATES = ("22P02", "22012", "42704", "42P01", "42501", "3F000", "22023")

# Key in `Session.info`: the tenant of the session's transaction.
SESSION_TENANT = "tenant"


class IsolationError(RuntimeError):
    """The transaction is not in its tenant's schema. Nothing was read or written."""


@contextmanager
def tenant_session(tenant: TenantRef, *, database: TenantDatabase) -> Iterator[Session]:
    """Open a short transaction inside `tenant`; commit on exit, roll back if the block raises.

    Raises IsolationError if the schema is missing or belongs to another tenant, and
    DatabaseFailure. Must not be open during a request to a carrier, a model or a webhook.
    """
    with (
        database.connection() as connection,
        open_tenant(connection, tenant, database=database) as session,
    ):
        yield session
        session.commit()


def run_in_tenant(
    tenant: TenantRef,
    statements: str,
    parameters: Mapping[str, Any],
    *,
    database: TenantDatabase,
) -> list[tuple[Any, ...]]:
    """Execute SQL inside `tenant` as a transaction of its own; return the last statement's rows.

    It takes one round trip and bypasses SQLAlchemy, so it writes no audit entry. Raises
    psycopg2.Error, and otherwise what `tenant_session` raises.
    """
    with database.connection() as connection:
        return TenantReader(connection, tenant, database.roles).fetch_rows(statements, parameters)


@dataclass(frozen=True)
class TenantReader:
    """Executes SQL inside a tenant, each string as a transaction of its own, without a session.

    The connection must be in no transaction. See `run_in_tenant`.
    """

    connection: Connection
    tenant: TenantRef
    roles: Roles

    @property
    def dialect(self) -> Dialect:
        """The dialect of the database."""
        return self.connection.dialect

    def fetch_rows(self, statements: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of the last statement; raise psycopg2.Error and IsolationError."""
        _require_no_transaction(self.connection)
        begin_sql = _checked_begin_sql(self.tenant, self.roles.role_name(self.tenant))
        db.record_schema_use(self.connection, self.tenant.schema)
        db.record_table_use(self.connection, statements)
        try:
            return db.run_transaction(self.connection, begin_sql, statements, parameters)
        except psycopg2.Error as error:
            if not _is_identified(self.connection, begin_sql, error.pgcode):
                raise _identity_check_error(self.tenant, error.pgcode) from error
            raise


@contextmanager
def owner_session(tenant: TenantRef, *, database: Database) -> Iterator[Session]:
    """Open a transaction inside `tenant` as the schema's owner, for DDL.

    It behaves like `tenant_session` otherwise. The schema may be at any revision.
    """
    begin_sql = _checked_begin_sql_any_revision(tenant)
    with (
        database.connection() as connection,
        _open_session(connection, tenant, begin_sql) as session,
    ):
        yield session
        session.commit()


def run_script(connection: Connection, tenant: TenantRef, script: str) -> None:
    """Run SQL inside `tenant` as the schema's owner, as one string and one round trip.

    It bypasses SQLAlchemy, for scripts that run in thousands of tenants. The identity check comes
    last, when the schema is at a revision that supports it. Raises psycopg2.Error and
    IsolationError. Then nothing was committed, unless the connection was lost while waiting for the
    result.
    """
    _require_no_transaction(connection)
    db.record_schema_use(connection, tenant.schema)
    try:
        db.execute_script(
            connection,
            f"{_begin_sql(tenant, None)};\n{script};\n{_identity_check_sql(tenant)};\nCOMMIT",
        )
    except psycopg2.Error as error:
        if connection.connection.closed:
            raise
        db.execute_script(connection, "ROLLBACK")
        if error.pgcode in _IDENTITY_CHECK_STATES:
            _raise_if_identity_check_fails(connection, tenant)
        raise


def _raise_if_identity_check_fails(connection: Connection, tenant: TenantRef) -> None:
    """Raise IsolationError if the identity check was what failed, and not the script."""
    try:
        db.execute_script(connection, _checked_begin_sql_any_revision(tenant))
    except psycopg2.Error as error:
        if error.pgcode in _IDENTITY_CHECK_STATES:
            raise _identity_check_error(tenant, error.pgcode) from error
        raise
    finally:
        if not connection.connection.closed:
            db.execute_script(connection, "ROLLBACK")


def _identity_check_error(tenant: TenantRef, state: str | None) -> IsolationError:
    metrics.ISOLATION_ALARMS.inc()
    log.alarm("isolation.fence", tenant_id=str(tenant.id), state=state)
    return IsolationError("the tenant's schema is missing or belongs to another tenant")


@contextmanager
def public_session(*, database: Database) -> Iterator[Session]:
    """Open a short transaction outside of all tenants; tenants' tables are not found in it."""
    with (
        database.connection() as connection,
        open_public(connection) as session,
    ):
        yield session
        session.commit()


@contextmanager
def public_connection(*, database: Database) -> Iterator[Connection]:
    """Open a connection in autocommit mode, for single reads of `public`."""
    with database.connection() as connection:
        yield connection


def open_tenant(
    connection: Connection, tenant: TenantRef, *, database: TenantDatabase
) -> AbstractContextManager[Session]:
    """Open a session in `tenant` on a connection of `database` without transaction.

    The caller commits.
    """
    begin_sql = _checked_begin_sql(tenant, database.roles.role_name(tenant))
    return _open_session(connection, tenant, begin_sql)


@contextmanager
def _open_session(connection: Connection, tenant: TenantRef, begin_sql: str) -> Iterator[Session]:
    _require_no_transaction(connection)
    db.set_begin_sql(connection, begin_sql)
    db.record_schema_use(connection, tenant.schema)
    with Session(connection, expire_on_commit=False, info={SESSION_TENANT: tenant}) as session:
        session.connection()
        try:
            yield session
        except (DBAPIError, psycopg2.Error) as error:
            if db.first_statement_failed(connection) and not _is_identified(
                connection, begin_sql, db.sqlstate(error)
            ):
                connection.invalidate()
                raise _identity_check_error(tenant, db.sqlstate(error)) from error
            raise


def _is_identified(connection: Connection, begin_sql: str, state: str | None) -> bool:
    """Return whether a transaction's first statement failed by itself, after the identity check."""
    if state not in _IDENTITY_CHECK_STATES or connection.connection.closed:
        return True
    db.execute_script(connection, "ROLLBACK")
    try:
        db.execute_script(connection, begin_sql)
    except psycopg2.Error as error:
        return error.pgcode not in _IDENTITY_CHECK_STATES
    finally:
        if not connection.connection.closed:
            db.execute_script(connection, "ROLLBACK")
    return True


@contextmanager
def open_public(connection: Connection) -> Iterator[Session]:
    """Open a session in no tenant on a connection without transaction; the caller commits."""
    _require_no_transaction(connection)
    db.set_begin_sql(connection, "BEGIN")
    with Session(connection, expire_on_commit=False) as session:
        yield session


def _require_no_transaction(connection: Connection) -> None:
    """Raise IsolationError if a transaction is open on the connection.

    The session would continue in that transaction, and the new BEGIN would only be sent with the
    next one.
    """
    if connection.in_transaction():
        raise IsolationError("a transaction is already open on this connection")


@lru_cache(maxsize=4096)
def _checked_begin_sql(tenant: TenantRef, role: str | None) -> str:
    """Return BEGIN, search_path, tenant id, role and identity check as one string.

    It takes one round trip. With the role the database refuses access to every other tenant's
    tables. The identity check makes a wrong or missing schema an error before the first statement.
    """
    return f"{_begin_sql(tenant, role)}; {_identity_check_sql(tenant)}"


def _checked_begin_sql_any_revision(tenant: TenantRef) -> str:
    """Return the same for the owner, with a check that works at every revision.

    It reads the table `tenant_self`, which exists since the first revision.
    """
    return (
        f"{_begin_sql(tenant, None)};"
        f" SELECT 1 / count(*) FILTER (WHERE id = '{tenant.id}') FROM tenant_self"
    )


def _begin_sql(tenant: TenantRef, role: str | None) -> str:
    set_role = f'; SET LOCAL ROLE "{role}"' if role is not None else ""
    return (
        f'BEGIN; SET LOCAL search_path TO "{tenant.schema}"; '
        f"SET LOCAL vca.tenant_id = '{tenant.id}'{set_role}"
    )


def _identity_check_sql(tenant: TenantRef) -> str:
    """Return the identity check.

    The type `tenant_identity` of the schema has one value, the tenant's id; casting any other id to
    it is an error.
    """
    return f"SELECT '{tenant.id}'::tenant_identity"


def set_search_path(session: Session, schema: str) -> None:
    """Let an owner's transaction create tables in `schema`, which belongs to no tenant yet.

    There is no identity check.
    """
    session.execute(text(f'SET LOCAL search_path TO "{schema}"'))
