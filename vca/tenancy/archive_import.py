"""Create a schema from an archive: at the archive's revision first, then migrated to the head."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit.db import copy_driver
from vca.tenancy import citus, schema
from vca.tenancy.archive_reader import Archive, ArchiveRefused, replace_uuid
from vca.tenancy.archive_writer import PUBLIC_SCHEMA, TENANT_FOLDER, Member, ProgressCallback
from vca.tenancy.replaced_schemas import replaced_schema_name
from vca.tenancy.schema import SCHEMA_SENTINEL, TenantRef
from vca.tenancy.session import set_search_path
from vca.tenancy.tables import list_tables, quote_name, without_partitions

_CREATE_TEMP_TABLE = "CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT * FROM {like} WITH NO DATA"
_SCHEMA_EXISTS = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
_FOREIGN_KEYS = text(
    "SELECT t.relname AS owner, c.conname AS key, pg_get_constraintdef(c.oid) AS says"
    " FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid"
    " WHERE c.connamespace = to_regnamespace(:name) AND c.contype = 'f' ORDER BY c.oid"
)


def create_schema(
    session: Session,
    tenant: TenantRef,
    name: str,
    *,
    revision: str,
    grantees: str = "CURRENT_USER",
    fill: Callable[[], None] = lambda: None,
) -> None:
    """Create the schema `name` for the tenant, with all tables at `revision` and only its own rows.

    `fill` inserts further rows before the indexes are created, so that no index has to be kept up
    to date. The tables are granted to `grantees`, an SQL list of role names. Raises ArchiveRefused
    if the schema exists.
    """
    if session.scalar(_SCHEMA_EXISTS, {"name": name}) is not None:
        raise ArchiveRefused(f"The schema {name} already exists.")
    tables_script, indexes_script = schema.compile_tables_and_indexes(
        to_revision=revision, for_citus=citus.is_enabled(session.connection())
    )
    citus.enable_schema_sharding(session)
    session.execute(text(f"CREATE SCHEMA {quote_name(name)}"))
    set_search_path(session, name)
    _run_script(session, tenant, name, tables_script, grantees)
    with _deferred_foreign_keys(session, name):
        fill()
    _run_script(session, tenant, name, indexes_script, grantees)


def import_archive(
    session: Session,
    archive: Archive,
    tenant: TenantRef,
    name: str,
    *,
    grantees: str,
    shared: Mapping[str, Collection[str]],
    on_progress: ProgressCallback = lambda _: None,
) -> None:
    """Create the schema `name` from the archive, for `tenant`, in the caller's transaction.

    Every occurrence of the archived tenant's id is replaced by the id of `tenant`: a UUID in a
    column or in a document cannot mean anything else. All other ids stay the same.

    `shared` maps public tables to the columns that an older archive may lack. Their archived rows
    are left in temporary tables `archived_…`, and the caller decides what to do with them.

    Raises ArchiveRefused for a revision that this code does not know, for one from before the first
    release, and for rows that do not fit,
    and ArchiveDamaged.
    """
    revision = archive.manifest.schema_revision
    if schema.precedes_baseline(revision):
        raise ArchiveRefused(
            "The archive was made before 0.1.0, and no release can import it. Nothing was imported."
        )
    if not schema.is_known_revision(revision):
        raise ArchiveRefused(
            f"The archive's schema is at revision {revision:.40}, which this release does not know."
            " It comes from a newer release. Nothing was imported."
        )
    fill = partial(_load_members, session, archive, tenant, name, shared, on_progress)
    create_schema(session, tenant, name, revision=revision, grantees=grantees, fill=fill)
    later_script = schema.compile_script(
        after_revision=revision, for_citus=citus.is_enabled(session.connection())
    )
    _run_script(session, tenant, name, later_script, grantees)


@contextmanager
def _deferred_foreign_keys(session: Session, name: str) -> Iterator[None]:
    """Drop the foreign keys of a new schema and add them again at the end.

    Each key is then checked by one join instead of row by row. Raises ArchiveRefused for a row that
    refers to a missing row.
    """
    foreign_keys = [
        (quote_name(name, row.owner), quote_name(row.key), row.says)
        for row in _list_foreign_keys(session, name)
    ]
    for table, key, _ in foreign_keys:
        session.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {key}"))
    yield
    for table, key, definition in foreign_keys:
        try:
            session.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {key} {definition}"))
        except IntegrityError as error:
            raise ArchiveRefused(
                f"A row of {table} refers to a missing row ({key}). Nothing was imported."
            ) from error


def _list_foreign_keys(session: Session, name: str) -> Sequence[Any]:
    return session.execute(_FOREIGN_KEYS, {"name": name}).all()


def swap_schemas(session: Session, tenant: TenantRef, staged: str, *, now: datetime) -> str:
    """Replace the tenant's schema by `staged`; return the new name of the replaced schema.

    Waits for transactions that are inside the tenant. Transactions that begin meanwhile wait for
    this one.
    """
    table_list = ", ".join(
        quote_name(tenant.schema, t.name) for t in list_tables(session, tenant.schema)
    )
    if table_list:
        session.execute(text(f"LOCK TABLE {table_list} IN ACCESS EXCLUSIVE MODE"))
    replaced_name = replaced_schema_name(tenant, now)
    session.execute(
        text(f"ALTER SCHEMA {quote_name(tenant.schema)} RENAME TO {quote_name(replaced_name)}")
    )
    session.execute(
        text(f"ALTER SCHEMA {quote_name(staged)} RENAME TO {quote_name(tenant.schema)}")
    )
    return replaced_name


def _load_members(
    session: Session,
    archive: Archive,
    tenant: TenantRef,
    name: str,
    shared: Mapping[str, Collection[str]],
    on_progress: ProgressCallback,
) -> None:
    """Load every member of the archive into its table."""
    schema_tables = without_partitions(list_tables(session, name))
    targets = {
        f"{TENANT_FOLDER}/{table.name}.csv": (quote_name(name, table.name), table)
        for table in schema_tables
    }
    for table in without_partitions(list_tables(session, PUBLIC_SCHEMA)):
        if table.name in shared:
            temp_table = f"pg_temp.archived_{table.name}"
            _create_temp_table(session, temp_table, quote_name(PUBLIC_SCHEMA, table.name))
            targets[f"{PUBLIC_SCHEMA}/{table.name}.csv"] = (temp_table, table)
    members = {member.name: member for member in archive.manifest.members}
    if members.keys() != targets.keys():
        mismatched = ", ".join(sorted(members.keys() ^ targets.keys()))
        raise ArchiveRefused(
            f"The archive does not contain the tables of its revision: {mismatched}."
        )
    for table in reversed(
        schema_tables
    ):  # the archive also contains the rows that a new schema starts with
        session.execute(text(f"DELETE FROM {quote_name(name, table.name)}"))
    for member_name, (target, table) in targets.items():
        on_progress(f"loading {member_name}")
        member = members[member_name]
        optional_columns = (
            shared.get(table.name, ()) if member_name.startswith(f"{PUBLIC_SCHEMA}/") else ()
        )
        columns = [
            column
            for column in table.columns
            if column in member.columns or column not in optional_columns
        ]
        _load_member(session, archive, tenant, member, target, columns)


def _load_member(
    session: Session,
    archive: Archive,
    tenant: TenantRef,
    member: Member,
    target: str,
    columns: Sequence[str],
) -> None:
    if sorted(member.columns) != sorted(columns):
        raise ArchiveRefused(f"{member.name} does not have the columns of its revision.")
    blocks = archive.iter_blocks(member)
    if archive.manifest.tenant_id != tenant.id:
        blocks = replace_uuid(blocks, archive.manifest.tenant_id, tenant.id)
    column_list = ", ".join(quote_name(column) for column in member.columns)
    statement = f"COPY {target} ({column_list}) FROM STDIN (FORMAT csv, HEADER match)"
    try:
        rows = copy_driver.copy_in(session, statement, blocks)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise ArchiveRefused(
            f"{member.name} was rejected: {error.diag.message_primary}. Nothing was imported."
        ) from error
    if rows != member.rows:
        raise ArchiveRefused(f"{member.name} has {rows} rows instead of {member.rows}.")


def _create_temp_table(session: Session, temp_table: str, like: str) -> None:
    name = temp_table.removeprefix("pg_temp.")
    session.execute(text(_CREATE_TEMP_TABLE.format(name=name, like=like)))


def _run_script(session: Session, tenant: TenantRef, name: str, script: str, grantees: str) -> None:
    tenant_script = schema.render_for_tenant(
        script.replace(SCHEMA_SENTINEL, name), tenant, grantees=grantees
    )
    if tenant_script:
        options = {"no_parameters": True}
        session.connection().exec_driver_sql(tenant_script, execution_options=options)
