"""Make a schema of an archive: at the revision that it was written at, and on to the head."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit.db import bulk
from vca.tenancy import citus, schema
from vca.tenancy.archive import INSIDE, SHARED, Member, Told
from vca.tenancy.kept import kept_name
from vca.tenancy.reading import Archive, ArchiveRefused, renamed
from vca.tenancy.schema import SCHEMA_SENTINEL, TenantRef
from vca.tenancy.session import point_at
from vca.tenancy.tables import quoted, tables, whole

_PASSING = "CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT * FROM {like} WITH NO DATA"
_THERE = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
_FOREIGN_KEYS = text(
    "SELECT t.relname AS owner, c.conname AS key, pg_get_constraintdef(c.oid) AS says"
    " FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid"
    " WHERE c.connamespace = to_regnamespace(:name) AND c.contype = 'f' ORDER BY c.oid"
)


def make(
    session: Session,
    tenant: TenantRef,
    name: str,
    *,
    revision: str,
    grantees: str = "CURRENT_USER",
    fill: Callable[[], None] = lambda: None,
) -> None:
    """A schema `name` for the tenant, with all tables at `revision` and no rows but its own.

    `fill` brings further rows, before there are indexes to keep up to date. The tables are granted
    to `grantees`, a list of names as SQL.
    """
    if session.scalar(_THERE, {"name": name}) is not None:
        raise ArchiveRefused(f"The schema {name} is there already.")
    tables_first, indexes = schema.compile_parts(upto=revision)
    citus.place_new_schemas(session)
    session.execute(text(f"CREATE SCHEMA {quoted(name)}"))
    point_at(session, name)
    _run(session, tenant, name, tables_first, grantees)
    with _references_checked_at_once(session, name):
        fill()
    _run(session, tenant, name, indexes, grantees)


def load(
    session: Session,
    archive: Archive,
    tenant: TenantRef,
    name: str,
    *,
    grantees: str,
    shared: Mapping[str, Collection[str]],
    told: Told = lambda _: None,
) -> None:
    """Make the schema `name` of the archive, for `tenant`, in the caller's transaction.

    Every occurrence of the archived tenant's id becomes the new one's, which a UUID in a column or
    in a document can only mean; all other ids are kept. What the archive has of the `shared` public
    tables, by name with the columns that an older archive may lack, is left in temporary tables
    `archived_…`, for the caller to judge. Raises ArchiveRefused for a revision that this code does
    not know or rows that do not fit, and ArchiveDamaged.
    """
    revision = archive.manifest.schema_revision
    if not schema.knows(revision):
        raise ArchiveRefused(
            f"The archive's schema is at revision {revision:.40}, which this code does not know:"
            " it is from a newer release. Nothing was imported."
        )
    fill = partial(_fill, session, archive, tenant, name, shared, told)
    make(session, tenant, name, revision=revision, grantees=grantees, fill=fill)
    _run(session, tenant, name, schema.compile_script(above=revision), grantees)


@contextmanager
def _references_checked_at_once(session: Session, name: str) -> Iterator[None]:
    """Foreign keys of a new schema, checked by one join each at the end and not row by row.

    Raises ArchiveRefused for a row that refers to none.
    """
    found = [(quoted(name, row.owner), quoted(row.key), row.says) for row in _keys(session, name)]
    for table, key, _ in found:
        session.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {key}"))
    yield
    for table, key, says in found:
        try:
            session.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {key} {says}"))
        except IntegrityError as error:
            raise ArchiveRefused(
                f"A row of {table} refers to one that is not there ({key}). Nothing was imported."
            ) from error


def _keys(session: Session, name: str) -> Sequence[Any]:
    return session.execute(_FOREIGN_KEYS, {"name": name}).all()


def swap(session: Session, tenant: TenantRef, staged: str, *, now: datetime) -> str:
    """Put the schema `staged` in the tenant's place; the old one is kept under the name returned.

    Waits for the transactions that are inside the tenant; those that come meanwhile wait for us.
    """
    old = ", ".join(quoted(tenant.schema, t.name) for t in tables(session, tenant.schema))
    if old:
        session.execute(text(f"LOCK TABLE {old} IN ACCESS EXCLUSIVE MODE"))
    keep = kept_name(tenant, now)
    session.execute(text(f"ALTER SCHEMA {quoted(tenant.schema)} RENAME TO {quoted(keep)}"))
    session.execute(text(f"ALTER SCHEMA {quoted(staged)} RENAME TO {quoted(tenant.schema)}"))
    return keep


def _fill(
    session: Session,
    archive: Archive,
    tenant: TenantRef,
    name: str,
    shared: Mapping[str, Collection[str]],
    told: Told,
) -> None:
    """Load every member of the archive into the table that it is of."""
    found = whole(tables(session, name))
    targets = {f"{INSIDE}/{table.name}.csv": (quoted(name, table.name), table) for table in found}
    for table in whole(tables(session, SHARED)):
        if table.name in shared:
            passing = f"pg_temp.archived_{table.name}"
            _make_passing(session, passing, quoted(SHARED, table.name))
            targets[f"{SHARED}/{table.name}.csv"] = (passing, table)
    members = {member.name: member for member in archive.manifest.members}
    if members.keys() != targets.keys():
        unfit = ", ".join(sorted(members.keys() ^ targets.keys()))
        raise ArchiveRefused(f"The archive has not the tables of its revision: {unfit}.")
    for table in reversed(found):  # what a new schema holds of its own is in the archive too
        session.execute(text(f"DELETE FROM {quoted(name, table.name)}"))
    for member_name, (target, table) in targets.items():
        told(f"loading {member_name}")
        member = members[member_name]
        lacking = shared.get(table.name, ()) if member_name.startswith(f"{SHARED}/") else ()
        wanted = [it for it in table.columns if it in member.columns or it not in lacking]
        _load_one(session, archive, tenant, member, target, wanted)


def _load_one(
    session: Session,
    archive: Archive,
    tenant: TenantRef,
    member: Member,
    target: str,
    columns: Sequence[str],
) -> None:
    if sorted(member.columns) != sorted(columns):
        raise ArchiveRefused(f"{member.name} has not the columns of its revision.")
    blocks = archive.blocks(member)
    if archive.manifest.tenant_id != tenant.id:
        blocks = renamed(blocks, archive.manifest.tenant_id, tenant.id)
    listed = ", ".join(quoted(column) for column in member.columns)
    statement = f"COPY {target} ({listed}) FROM STDIN (FORMAT csv, HEADER match)"
    try:
        rows = bulk.copy_in(session, statement, blocks)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise ArchiveRefused(
            f"{member.name} does not fit: {error.diag.message_primary}. Nothing was imported."
        ) from error
    if rows != member.rows:
        raise ArchiveRefused(f"{member.name} has {rows} rows and not {member.rows}.")


def _make_passing(session: Session, passing: str, like: str) -> None:
    name = passing.removeprefix("pg_temp.")
    session.execute(text(_PASSING.format(name=name, like=like)))


def _run(session: Session, tenant: TenantRef, name: str, script: str, grantees: str) -> None:
    filled_in = schema.filled_in(script.replace(SCHEMA_SENTINEL, name), tenant, grantees=grantees)
    if filled_in:
        options = {"no_parameters": True}
        session.connection().exec_driver_sql(filled_in, execution_options=options)
