"""One tenant as one file: a zip of a CSV for each table, and a manifest with their checksums.

CSV as Postgres's COPY writes it, with a header, so that other programs and other releases of
Postgres read it too. The manifest is written last, since only then the checksums are known, and a
zip lets it be read first. Nothing is held in memory but one block.
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
from vca.kit.db import bulk
from vca.kit.db.bulk import Bulk
from vca.kit.errors import Conflict
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public
from vca.tenancy.tables import Table, quoted, tables, whole

FORMAT = "vca-tenant"
VERSION = 1
MANIFEST = "manifest.json"
INSIDE = "tenant"
SHARED = "public"
COPY_FORMAT = "FORMAT csv, HEADER"
# Everything the snapshot shows is from one moment, and nothing can be written.
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

Told = Callable[[str], object]


class NotExported(Conflict):
    """The archive could not be written; nothing was left behind under its name."""

    code = "not-exported"


@dataclass(frozen=True)
class Member:
    """A table in an archive; `bytes` and `sha256` are of its CSV, uncompressed."""

    name: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive says about itself; `tenant` is the tenant's row as its registry had it."""

    tenant_id: UUID
    schema_revision: str
    exported_at: datetime
    postgres: str
    tenant: Mapping[str, Any]
    members: tuple[Member, ...]

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the archive."""
        return {"format": FORMAT, "version": VERSION, **vars(self)}


@dataclass(frozen=True)
class Contents:
    """What the caller's tables say of the tenant: its revision, and its row to be kept."""

    schema_revision: str
    exported_at: datetime
    tenant: Mapping[str, Any]


def write(
    database: Bulk,
    tenant: TenantRef,
    target: Path,
    *,
    describe: Callable[[Session], Contents],
    shared: Sequence[str],
    force: bool = False,
    told: Told = lambda _: None,
) -> Manifest:
    """Write the tenant's schema, and its rows of the `shared` public tables, to `target`.

    One snapshot; rows are read as they are written, so writers go on meanwhile. The file has mode
    0600 and appears under its name when it is complete. Raises NotExported, also for a file that is
    there already unless `force`.
    """
    with public(database=database) as session:
        names = [table.name for table in tables(session, tenant.schema)]
    with _arriving(target, force) as file, public(database=database) as session:
        found = _frozen(session, tenant, names)
        contents = describe(session)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            members = [
                _add(session, archive, name, columns, source, told)
                for name, columns, source in _sources(session, tenant, found, shared)
            ]
            manifest = Manifest(
                tenant_id=tenant.id,
                postgres=session.scalar(text("SHOW server_version")) or "",
                members=tuple(members),
                **vars(contents),
            )
            archive.writestr(MANIFEST, json.dumps(manifest.as_dict()))
    return manifest


def _frozen(session: Session, tenant: TenantRef, names: Sequence[str]) -> list[Table]:
    """Begin the snapshot, with every table locked against migrations before it is taken."""
    session.execute(text(_SNAPSHOT))
    if "tenant_self" not in names:
        raise NotExported("The tenant's schema is missing or incomplete.")
    listed = ", ".join(quoted(tenant.schema, name) for name in names)
    session.execute(text(f"LOCK TABLE {listed} IN ACCESS SHARE MODE"))
    found = tables(session, tenant.schema)
    owner = session.scalar(text(f"SELECT id FROM {quoted(tenant.schema, 'tenant_self')}"))
    if sorted(table.name for table in found) != sorted(names) or owner != tenant.id:
        raise NotExported("The tenant's schema is being changed; try again.")
    return whole(found)


def _sources(
    session: Session, tenant: TenantRef, found: Sequence[Table], shared: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(member, columns, query) of all that is the tenant's."""
    for table in found:
        yield (
            f"{INSIDE}/{table.name}.csv",
            table.columns,
            f"SELECT {_list(table.columns)} FROM {quoted(tenant.schema, table.name)}",
        )
    columns = {table.name: table.columns for table in tables(session, SHARED)}
    for name in shared:
        yield (
            f"{SHARED}/{name}.csv",
            columns[name],
            f"SELECT {_list(columns[name])} FROM {quoted(SHARED, name)}"
            f" WHERE tenant_id = '{tenant.id}'",
        )


def _add(
    session: Session,
    archive: zipfile.ZipFile,
    name: str,
    columns: tuple[str, ...],
    query: str,
    told: Told,
) -> Member:
    digest, size = hashlib.sha256(), 0
    with archive.open(name, "w", force_zip64=True) as member:

        def write(block: bytes) -> None:
            nonlocal size
            size += len(block)
            digest.update(block)
            member.write(block)
            told(f"{name}: {size:,} bytes")

        rows = bulk.copy_out(session, f"COPY ({query}) TO STDOUT ({COPY_FORMAT})", write)
    return Member(name, columns, rows, size, digest.hexdigest())


@contextmanager
def _arriving(target: Path, force: bool) -> Iterator[BinaryIO]:
    """A file that bears its name only once it is complete, and on the disk."""
    _refuse_what_is_there(target, force)
    passing = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise NotExported(f"{target} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse_what_is_there(target, force)
        passing.replace(target)
    except OSError as error:
        raise NotExported(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        passing.unlink(missing_ok=True)


def _refuse_what_is_there(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise NotExported(f"{target} is there already; --force overwrites it.")


def _list(columns: Sequence[str]) -> str:
    return ", ".join(quoted(column) for column in columns)
