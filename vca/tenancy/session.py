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

from vca.kit import db, log, metrics
from vca.kit.db import Database
from vca.tenancy import roles
from vca.tenancy.schema import TenantRef

# 22P02 invalid text representation, 22012 division by zero: the schema is another tenant's. 42704
# undefined object, 42P01 undefined table: there is no such schema, or nobody entered one. 42501
# insufficient privilege. 22023 invalid parameter value: there is no such role.
_FENCE_STATES = ("22P02", "22012", "42704", "42P01", "42501", "3F000", "22023")

# In the `info` of a session: the tenant that its transaction is in.
INSIDE = "tenant"


class IsolationError(RuntimeError):
    """A transaction is not, or no longer, where its tenant is. Nothing was read or written."""


@contextmanager
def enter(tenant: TenantRef, *, database: Database | None = None) -> Iterator[Session]:
    """A short transaction inside `tenant`; commits on leaving, rolls back when the block raises.

    Raises IsolationError when the schema is missing or is not this tenant's, and
    DatabaseFailure. Must not be open while a carrier, a model or a webhook is called.
    """
    where = database or db.current()
    with (
        where.connection(schema=tenant.schema) as connection,
        inside(connection, tenant) as session,
    ):
        yield session
        session.commit()


@contextmanager
def as_owner(tenant: TenantRef, *, database: Database) -> Iterator[Session]:
    """A transaction inside `tenant` as the schema's owner, for DDL; otherwise like `enter`.

    The schema may be at any revision.
    """
    opening = _opening_at_any_revision(tenant)
    with database.connection() as connection, _opened(connection, tenant, opening) as session:
        yield session
        session.commit()


def replay(connection: Connection, tenant: TenantRef, script: str) -> None:
    """Run SQL inside `tenant` as the schema's owner: a transaction of one string, one round trip.

    Past SQLAlchemy, for what is done to thousands of tenants in a row. The fence comes last, when
    the schema is at a revision that has it. Raises psycopg2.Error and IsolationError; then nothing
    of it has happened, but for a connection lost with the answer.
    """
    _refuse_an_open_transaction(connection)
    db.note_tenant(connection, tenant.schema)
    try:
        db.run_string(connection, f"{_way(tenant, None)};\n{script};\n{_fence(tenant)};\nCOMMIT")
    except psycopg2.Error as error:
        if connection.connection.closed:
            raise
        db.run_string(connection, "ROLLBACK")
        if error.pgcode in _FENCE_STATES:
            _look_at_the_fence(connection, tenant)
        raise


def _look_at_the_fence(connection: Connection, tenant: TenantRef) -> None:
    """Raise IsolationError if it was the fence that failed, and not what came after it."""
    try:
        db.run_string(connection, _opening_at_any_revision(tenant))
    except psycopg2.Error as error:
        if error.pgcode in _FENCE_STATES:
            raise _fenced(tenant, error.pgcode) from error
        raise
    finally:
        if not connection.connection.closed:
            db.run_string(connection, "ROLLBACK")


def _fenced(tenant: TenantRef, state: str | None) -> IsolationError:
    metrics.ISOLATION_ALARMS.inc()
    log.alarm("isolation.fence", tenant_id=str(tenant.id), state=state)
    return IsolationError("the tenant's schema is missing or another's")


@contextmanager
def public(*, database: Database | None = None) -> Iterator[Session]:
    """A short transaction in no tenant: tenants' tables cannot be found here."""
    with (database or db.current()).connection() as connection, outside(connection) as session:
        yield session
        session.commit()


@contextmanager
def lookup() -> Iterator[Connection]:
    """A connection in no transaction: each statement on it is one, for single reads of `public`."""
    with db.current().connection() as connection:
        yield connection


def inside(connection: Connection, tenant: TenantRef) -> AbstractContextManager[Session]:
    """A session in `tenant` on a connection that is in no transaction; its owner commits."""
    return _opened(connection, tenant, _opening(tenant, roles.current().of(tenant)))


@contextmanager
def _opened(connection: Connection, tenant: TenantRef, opening: str) -> Iterator[Session]:
    _refuse_an_open_transaction(connection)
    db.opening(connection, opening)
    db.note_tenant(connection, tenant.schema)
    with Session(connection, expire_on_commit=False, info={INSIDE: tenant}) as session:
        try:
            session.connection()
        except DBAPIError as error:
            if db.sqlstate(error) in _FENCE_STATES:
                connection.invalidate()
                raise _fenced(tenant, db.sqlstate(error)) from error
            raise
        yield session


@contextmanager
def outside(connection: Connection) -> Iterator[Session]:
    """A session in no tenant, on a connection that is in no transaction; its owner commits."""
    _refuse_an_open_transaction(connection)
    db.opening(connection, "BEGIN")
    with Session(connection, expire_on_commit=False) as session:
        yield session


def _refuse_an_open_transaction(connection: Connection) -> None:
    """It would go on where it is, and the opening would wait for whoever begins the next one."""
    if connection.in_transaction():
        raise IsolationError("a transaction is open on this connection already")


@lru_cache(maxsize=4096)
def _opening(tenant: TenantRef, role: str | None) -> str:
    """BEGIN, the path, who we are, and the fence, in one string and so in one round trip.

    The role makes the database refuse every other tenant's tables. The fence asks the schema itself
    whose it is; a wrong or missing schema is an error before the first statement of ours.
    """
    return f"{_way(tenant, role)}; {_fence(tenant)}"


def _opening_at_any_revision(tenant: TenantRef) -> str:
    """The owner's, by the table that has said so from the first revision on."""
    return (
        f"{_way(tenant, None)};"
        f" SELECT 1 / count(*) FILTER (WHERE id = '{tenant.id}') FROM tenant_self"
    )


def _way(tenant: TenantRef, role: str | None) -> str:
    take_on = f'; SET LOCAL ROLE "{role}"' if role is not None else ""
    return (
        f'BEGIN; SET LOCAL search_path TO "{tenant.schema}"; '
        f"SET LOCAL vca.tenant_id = '{tenant.id}'{take_on}"
    )


def _fence(tenant: TenantRef) -> str:
    """The tenant's id, as the one value of a type of the schema's: any other is an error."""
    return f"SELECT '{tenant.id}'::tenant_identity"


def point_at(session: Session, schema: str) -> None:
    """Let an owner's transaction make tables in `schema`, which is no tenant's yet: no fence."""
    session.execute(text(f'SET LOCAL search_path TO "{schema}"'))
