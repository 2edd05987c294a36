"""Write one tenant to one file: a zip with a CSV for each table, and a manifest with checksums.

The CSV is written by Postgres's COPY, with a header, so that other programs and other releases of
Postgres can read it. The manifest is written last, because only then are the checksums known; a zip
can still be read from the manifest first. Only one block is held in memory at a time.
"""

import hashlib
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import json
from vca.kit.db import copy_driver
from vca.kit.db.copy_driver import BulkDatabase
from vca.kit.errors import Conflict
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session
from vca.tenancy.tables import Table, list_tables, quote_name, without_partitions

FORMAT = "vca-tenant"
VERSION = 1
MANIFEST = "manifest.json"
TENANT_FOLDER = "tenant"
PUBLIC_SCHEMA = "public"
COPY_FORMAT = "FORMAT csv, HEADER"
# All reads see one moment, and the transaction cannot write.
_READ_ONLY_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

ProgressCallback = Callable[[str], object]


class NotExported(Conflict):
    """The archive could not be written; no file was left under its name."""

    code = "not-exported"


@dataclass(frozen=True)
class Member:
    """A table in an archive; `bytes` and `sha256` refer to its uncompressed CSV."""

    name: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The description of an archive; `tenant` is the tenant's row in `public.tenants`."""

    tenant_id: UUID
    schema_revision: str
    exported_at: datetime
    postgres: str
    tenant: Mapping[str, Any]
    members: tuple[Member, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest as it is written to the archive."""
        return {"format": FORMAT, "version": VERSION, **vars(self)}


@dataclass(frozen=True)
class ArchiveContents:
    """What the caller adds to the manifest: the tenant's revision and its row."""

    schema_revision: str
    exported_at: datetime
    tenant: Mapping[str, Any]


def write_archive(
    database: BulkDatabase,
    tenant: TenantRef,
    target: Path,
    *,
    describe: Callable[[Session], ArchiveContents],
    shared: Sequence[str],
    force: bool = False,
    on_progress: ProgressCallback = lambda _: None,
) -> Manifest:
    """Write the tenant's schema, and its rows of the `shared` public tables, to `target`.

    Everything is read from one snapshot, and rows are streamed, so writers are not blocked. The
    file has mode 0600 and appears under its name when it is complete. Raises NotExported, also for
    a file that exists unless `force` is set.
    """
    with public_session(database=database) as session:
        names = [table.name for table in list_tables(session, tenant.schema)]
    with _atomic_file(target, force) as file, public_session(database=database) as session:
        archived_tables = _begin_snapshot(session, tenant, names)
        contents = describe(session)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            members = [
                _add_member(session, archive, name, columns, source, on_progress)
                for name, columns, source in _sources(session, tenant, archived_tables, shared)
            ]
            manifest = Manifest(
                tenant_id=tenant.id,
                postgres=session.scalar(text("SHOW server_version")) or "",
                members=tuple(members),
                **vars(contents),
            )
            archive.writestr(MANIFEST, json.dumps(manifest.as_dict()))
    return manifest


def _begin_snapshot(session: Session, tenant: TenantRef, names: Sequence[str]) -> list[Table]:
    """Begin the snapshot after locking every table against migrations."""
    session.execute(text(_READ_ONLY_SNAPSHOT))
    if "tenant_self" not in names:
        raise NotExported("The tenant's schema is missing or incomplete.")
    table_list = ", ".join(quote_name(tenant.schema, name) for name in names)
    session.execute(text(f"LOCK TABLE {table_list} IN ACCESS SHARE MODE"))
    locked_tables = list_tables(session, tenant.schema)
    owner = session.scalar(text(f"SELECT id FROM {quote_name(tenant.schema, 'tenant_self')}"))
    if sorted(table.name for table in locked_tables) != sorted(names) or owner != tenant.id:
        raise NotExported("The tenant's schema is being migrated. Try again.")
    return without_partitions(locked_tables)


def _sources(
    session: Session, tenant: TenantRef, archived_tables: Sequence[Table], shared: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield (member name, columns, query) for each table with rows of the tenant."""
    for table in archived_tables:
        yield (
            f"{TENANT_FOLDER}/{table.name}.csv",
            table.columns,
            f"SELECT {_column_list(table.columns)} FROM {quote_name(tenant.schema, table.name)}",
        )
    columns = {table.name: table.columns for table in list_tables(session, PUBLIC_SCHEMA)}
    for name in shared:
        yield (
            f"{PUBLIC_SCHEMA}/{name}.csv",
            columns[name],
            f"SELECT {_column_list(columns[name])} FROM {quote_name(PUBLIC_SCHEMA, name)}"
            f" WHERE tenant_id = '{tenant.id}'",
        )


def _add_member(
    session: Session,
    archive: zipfile.ZipFile,
    name: str,
    columns: tuple[str, ...],
    query: str,
    on_progress: ProgressCallback,
) -> Member:
    digest, size = hashlib.sha256(), 0
    with archive.open(name, "w", force_zip64=True) as member:

        def write_block(block: bytes) -> None:
            nonlocal size
            size += len(block)
            digest.update(block)
            member.write(block)
            on_progress(f"{name}: {size:,} bytes")

        rows = copy_driver.copy_out(
            session, f"COPY ({query}) TO STDOUT ({COPY_FORMAT})", write_block
        )
    return Member(name, columns, rows, size, digest.hexdigest())


@contextmanager
def _atomic_file(target: Path, force: bool) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when it is complete and flushed to disk."""
    _require_absent(target, force)
    temporary_path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise NotExported(f"{target} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _require_absent(target, force)
        temporary_path.replace(target)
    except OSError as error:
        raise NotExported(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        temporary_path.unlink(missing_ok=True)


def _require_absent(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise NotExported(f"{target} already exists; use --force to overwrite it.")


def _column_list(columns: Sequence[str]) -> str:
    return ", ".join(quote_name(column) for column in columns)
