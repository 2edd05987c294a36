"""Drop a schema a few tables at a time: no transaction needs more locks than the server has."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.kit.db.bulk import Bulk
from vca.tenancy.kept import kept
from vca.tenancy.session import public
from vca.tenancy.tables import Table, quoted, tables

# Tables, indexes and overflow tables that one transaction locks; the server's whole table of locks
# has room for some 6,400 by default.
MOST_RELATIONS = 16
_SELF, _IDENTITY = "tenant_self", "tenant_identity"
_DEPENDS = "2BP01"
_NOT_OURS = "42501"

Guard = Callable[[Session], object]


def drop_schema(database: Bulk, name: str, *, guard: Guard = lambda _: None) -> dict[str, int]:
    """Drop a schema with all that is in it; how many rows each table had.

    Each batch is a transaction, begun by `guard`, which may raise to stop. Dropping one that is
    half gone, or gone, finishes it. The record of whose the schema is goes first: from then on
    nothing enters it.
    """
    rows: dict[str, int] = {}
    while True:
        with public(database=database) as session:
            guard(session)
            batch = _batch(tables(session, name))
            if not batch:
                session.execute(text(f"DROP SCHEMA IF EXISTS {quoted(name)} CASCADE"))
                return rows
            for table in batch:
                found = f"SELECT count(*) FROM {quoted(name, table.name)}"
                rows[table.name] = session.scalar(text(found)) or 0
            listed = ", ".join(quoted(name, table.name) for table in batch)
            session.execute(text(f"DROP TYPE IF EXISTS {quoted(name, _IDENTITY)} CASCADE"))
            session.execute(text(f"DROP TABLE {listed} CASCADE"))


def drop_kept(
    database: Bulk, *, now: datetime, of: Sequence[str] = (), guard: Guard = lambda _: None
) -> list[str]:
    """Drop the replaced schemas that have been kept for their week, and any of the schemas `of`."""
    with public(database=database) as session:
        found = [one.name for one in kept(session) if one.expired(now) or one.tenant.schema in of]
    for name in found:
        drop_schema(database, name, guard=guard)
    return found


def drop_empty(database: Bulk, name: str) -> bool:
    """Drop a schema that holds nothing at all; whether it did."""
    try:
        with public(database=database) as session:
            session.execute(text(f"DROP SCHEMA IF EXISTS {quoted(name)}"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _DEPENDS:
            return False
        raise
    return True


def drop_role(database: Bulk, role: str) -> str:
    """Drop a tenant's role unless something else depends on it: dropped, absent or kept."""
    try:
        with public(database=database) as session:
            there = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
            if session.scalar(there, {"role": role}) is None:
                return "absent"
            session.execute(text(f"DROP ROLE IF EXISTS {quoted(role)}"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in (_DEPENDS, _NOT_OURS):
            return "kept"
        raise
    return "dropped"


def _batch(found: Sequence[Table]) -> list[Table]:
    """The next tables to go: that record alone, else as many as the locks allow."""
    first = [table for table in found if table.name == _SELF]
    return first or list(_within(MOST_RELATIONS, found[::-1]))


def _within(most: int, found: Sequence[Table]) -> Iterator[Table]:
    """At least one, and no more than `most` relations; those that refer to others come first."""
    locked = 0
    for table in found:
        locked += table.relations
        if locked > most and locked > table.relations:
            return
        yield table
