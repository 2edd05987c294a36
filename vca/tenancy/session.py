"""Open a transaction: inside one tenant's schema, or outside all of them.

The only place that sets `search_path` and the role. Everything is `SET LOCAL`, so nothing outlives
the transaction, behind a pooler in transaction mode too. `public` is not in a tenant's path: a
missing schema would otherwise silently resolve to it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

import psycopg2
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.kit import db
from vca.kit.db import Database
from vca.observability import log, metrics
from vca.tenancy import roles
from vca.tenancy.schema import TenantRef

# 22P02 invalid text representation, 22012 division by zero: the schema is another tenant's. 42704
# undefined object, 42P01 undefined table: there is no such schema, or nobody entered one. 42501
# insufficient privilege. 22023 invalid parameter value: there is no such role.
_IDENTITY_CHECK_STATES = ("22P02", "22012", "42704", "42P01", "42501", "3F000", "22023")

# In the `info` of a session: the tenant that its transaction is in.
SESSION_TENANT = "tenant"


class IsolationError(RuntimeError):
    """A transaction is not, or no longer, where its tenant is. Nothing was read or written."""


@contextmanager
def tenant_session(tenant: TenantRef, *, database: Database | None = None) -> Iterator[Session]:
    """A short transaction inside `tenant`; commits on leaving, rolls back when the block raises.

    Raises IsolationError when the schema is missing or is not this tenant's, and
    DatabaseFailure. Must not be open while a carrier, a model or a webhook is called.
    """
    target_database = database or db.current_database()
    with (
        target_database.connection(schema=tenant.schema) as connection,
        open_tenant(connection, tenant) as session,
    ):
        yield session
        session.commit()


@contextmanager
def owner_session(tenant: TenantRef, *, database: Database) -> Iterator[Session]:
    """A transaction inside `tenant` as the schema's owner, for DDL; otherwise like `enter`.

    The schema may be at any revision.
    """
    begin_sql = _checked_begin_sql_any_revision(tenant)
    with (
        database.connection() as connection,
        _open_session(connection, tenant, begin_sql) as session,
    ):
        yield session
        session.commit()


def run_script(connection: Connection, tenant: TenantRef, script: str) -> None:
    """Run SQL inside `tenant` as the schema's owner: a transaction of one string, one round trip.

    Past SQLAlchemy, for what is done to thousands of tenants in a row. The fence comes last, when
    the schema is at a revision that has it. Raises psycopg2.Error and IsolationError; then nothing
    of it has happened, but for a connection lost with the answer.
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
    """Raise IsolationError if it was the fence that failed, and not what came after it."""
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
    return IsolationError("the tenant's schema is missing or another's")


@contextmanager
def public_session(*, database: Database | None = None) -> Iterator[Session]:
    """A short transaction in no tenant: tenants' tables cannot be found here."""
    with (
        (database or db.current_database()).connection() as connection,
        open_public(connection) as session,
    ):
        yield session
        session.commit()


@contextmanager
def public_connection() -> Iterator[Connection]:
    """A connection in no transaction: each statement on it is one, for single reads of `public`."""
    with db.current_database().connection() as connection:
        yield connection


def open_tenant(connection: Connection, tenant: TenantRef) -> AbstractContextManager[Session]:
    """A session in `tenant` on a connection that is in no transaction; its owner commits."""
    return _open_session(
        connection, tenant, _checked_begin_sql(tenant, roles.current_roles().role_name(tenant))
    )


@contextmanager
def _open_session(connection: Connection, tenant: TenantRef, begin_sql: str) -> Iterator[Session]:
    _require_no_transaction(connection)
    db.set_begin_sql(connection, begin_sql)
    db.record_schema_use(connection, tenant.schema)
    with Session(connection, expire_on_commit=False, info={SESSION_TENANT: tenant}) as session:
        try:
            session.connection()
        except DBAPIError as error:
            if db.sqlstate(error) in _IDENTITY_CHECK_STATES:
                connection.invalidate()
                raise _identity_check_error(tenant, db.sqlstate(error)) from error
            raise
        yield session


@contextmanager
def open_public(connection: Connection) -> Iterator[Session]:
    """A session in no tenant, on a connection that is in no transaction; its owner commits."""
    _require_no_transaction(connection)
    db.set_begin_sql(connection, "BEGIN")
    with Session(connection, expire_on_commit=False) as session:
        yield session


def _require_no_transaction(connection: Connection) -> None:
    """It would go on where it is, and the opening would wait for whoever begins the next one."""
    if connection.in_transaction():
        raise IsolationError("a transaction is open on this connection already")


@lru_cache(maxsize=4096)
def _checked_begin_sql(tenant: TenantRef, role: str | None) -> str:
    """BEGIN, the path, who we are, and the fence, in one string and so in one round trip.

    The role makes the database refuse every other tenant's tables. The fence asks the schema itself
    whose it is; a wrong or missing schema is an error before the first statement of ours.
    """
    return f"{_begin_sql(tenant, role)}; {_identity_check_sql(tenant)}"


def _checked_begin_sql_any_revision(tenant: TenantRef) -> str:
    """The owner's, by the table that has said so from the first revision on."""
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
    """The tenant's id, as the one value of a type of the schema's: any other is an error."""
    return f"SELECT '{tenant.id}'::tenant_identity"


def set_search_path(session: Session, schema: str) -> None:
    """Let an owner's transaction make tables in `schema`, which is no tenant's yet: no fence."""
    session.execute(text(f'SET LOCAL search_path TO "{schema}"'))
