"""Drop a schema a few tables at a time, so that no transaction exceeds the server's lock table."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.kit.db.copy_driver import BulkDatabase
from vca.tenancy.replaced_schemas import list_replaced_schemas
from vca.tenancy.session import public_session
from vca.tenancy.tables import Table, list_tables, quote_name

# Tables, indexes and TOAST tables that one transaction locks. The server's whole lock table has
# room for about 6,400 by default.
MAX_LOCKED_RELATIONS = 16
_SELF, _IDENTITY = "tenant_self", "tenant_identity"
_DEPENDENT_OBJECTS = "2BP01"
_INSUFFICIENT_PRIVILEGE = "42501"

BatchGuard = Callable[[Session], object]


def drop_schema(
    database: BulkDatabase, name: str, *, guard: BatchGuard = lambda _: None
) -> dict[str, int]:
    """Drop a schema with its contents; return the number of rows of each table.

    Each batch is a transaction that begins with `guard`, which may raise to stop. The call finishes
    the work for a schema that is partly or completely gone. The table that identifies the schema's
    tenant is dropped first: from then on no session can enter the schema.
    """
    rows: dict[str, int] = {}
    while True:
        with public_session(database=database) as session:
            guard(session)
            batch = _next_batch(list_tables(session, name))
            if not batch:
                session.execute(text(f"DROP SCHEMA IF EXISTS {quote_name(name)} CASCADE"))
                return rows
            for table in batch:
                count_rows = f"SELECT count(*) FROM {quote_name(name, table.name)}"
                rows[table.name] = session.scalar(text(count_rows)) or 0
            table_list = ", ".join(quote_name(name, table.name) for table in batch)
            session.execute(text(f"DROP TYPE IF EXISTS {quote_name(name, _IDENTITY)} CASCADE"))
            session.execute(text(f"DROP TABLE {table_list} CASCADE"))


def drop_replaced_schemas(
    database: BulkDatabase,
    *,
    now: datetime,
    tenant_schemas: Sequence[str] = (),
    guard: BatchGuard = lambda _: None,
) -> list[str]:
    """Drop replaced schemas older than the retention, and all those of `tenant_schemas`.

    `tenant_schemas` are names of the tenants' current schemas.
    """
    with public_session(database=database) as session:
        expired_names = [
            replaced.name
            for replaced in list_replaced_schemas(session)
            if replaced.is_expired(now) or replaced.tenant.schema in tenant_schemas
        ]
    for name in expired_names:
        drop_schema(database, name, guard=guard)
    return expired_names


def drop_empty(database: BulkDatabase, name: str) -> bool:
    """Drop a schema that contains nothing; return whether it was empty."""
    try:
        with public_session(database=database) as session:
            session.execute(text(f"DROP SCHEMA IF EXISTS {quote_name(name)}"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _DEPENDENT_OBJECTS:
            return False
        raise
    return True


def drop_role(database: BulkDatabase, role: str) -> str:
    """Drop a tenant's role unless objects depend on it; return dropped, absent or kept."""
    try:
        with public_session(database=database) as session:
            find_role = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
            if session.scalar(find_role, {"role": role}) is None:
                return "absent"
            session.execute(text(f"DROP ROLE IF EXISTS {quote_name(role)}"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in (_DEPENDENT_OBJECTS, _INSUFFICIENT_PRIVILEGE):
            return "kept"
        raise
    return "dropped"


def _next_batch(remaining: Sequence[Table]) -> list[Table]:
    """Return the identity table alone, or as many of the next tables as the locks allow."""
    first = [table for table in remaining if table.name == _SELF]
    return first or list(_limit_relations(MAX_LOCKED_RELATIONS, remaining[::-1]))


def _limit_relations(max_relations: int, candidates: Sequence[Table]) -> Iterator[Table]:
    """Yield at least one table, and no more than `max_relations` relations.

    Tables that refer to others come first.
    """
    relation_count = 0
    for table in candidates:
        relation_count += table.relation_count
        if relation_count > max_relations and relation_count > table.relation_count:
            return
        yield table
