"""Export a tenant to an archive, and import one as a new tenant or over the same tenant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.audit import context
from vca.kit.db.copy_driver import BulkDatabase
from vca.kit.errors import Conflict
from vca.registry.base import tables_of_tenants
from vca.registry.tenants import re_encryption, registry_import, roles, service
from vca.registry.tenants.models import PURGING, Tenant
from vca.services import Services
from vca.services.lifecycle_hooks import ImportedTenant
from vca.tenancy import archive_import, archive_reader, archive_writer, drop, schema
from vca.tenancy.archive_reader import Archive, ArchiveRefused
from vca.tenancy.archive_writer import ArchiveContents, Manifest
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

_ARCHIVED_TENANT_COLUMNS = (
    "name",
    "plan",
    "status",
    "external_id",
    "created_at",
    "updated_at",
    "deleted_at",
)

ProgressCallback = Callable[[str], object]


class TenantBeingPurged(Conflict):
    """The tenant's purge has begun; its data is incomplete."""

    code = "being-purged"

    def __init__(self) -> None:
        super().__init__("The tenant is being purged. Run `flask tenants purge` to finish it.")


@dataclass
class ImportResult:
    """The result of an import."""

    tenant_id: UUID
    archived_tenant_id: UUID
    schema_revision: str
    rows: dict[str, int]
    kept_schema: str | None = None
    external_id_taken: bool = False
    numbers_claimed: list[str] = field(default_factory=list)
    numbers_taken: list[str] = field(default_factory=list)
    feature_counts: Mapping[str, int] = field(default_factory=dict)
    keys_imported: int = 0
    keys_left_out: int = 0
    unreadable_columns: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return the result as the command shows it: each feature's counts have their own name."""
        facts = dict(vars(self))
        return {**facts, **facts.pop("feature_counts")}


def export_tenant(
    database: BulkDatabase,
    *,
    tenant_id: UUID,
    target: Path,
    now: datetime,
    force: bool = False,
    on_progress: ProgressCallback = lambda _: None,
) -> Manifest:
    """Write the tenant, whatever its status, to one file; return the file's manifest.

    Raises NotFound, TenantBeingPurged and archive_writer.NotExported.
    """

    def describe(session: Session) -> ArchiveContents:
        row = _require_not_purging(service.get(session, tenant_id=tenant_id))
        tenant_columns = {name: getattr(row, name) for name in _ARCHIVED_TENANT_COLUMNS}
        return ArchiveContents(row.schema_revision, now, tenant_columns)

    with public_session(database=database) as session:
        describe(session)
        context.record_change(session, "tenant", tenant_id, tenant_id=tenant_id)
    tenant = TenantRef(tenant_id)
    return archive_writer.write_archive(
        database,
        tenant,
        target,
        describe=describe,
        shared=list(_archived_tables()),
        force=force,
        on_progress=on_progress,
    )


def import_tenant(
    database: BulkDatabase,
    *,
    services: Services,
    source: Path,
    replace: bool,
    role_prefix: str | None,
    now: datetime,
    on_progress: ProgressCallback = lambda _: None,
) -> ImportResult:
    """Import an archive in one transaction: completely, or not at all.

    The tenant gets a new id. With `replace` it keeps its id, and the current schema is kept for a
    week under another name; the tenant keeps its current status and API keys.

    API keys are imported if their id and prefix are free, and numbers if they are free. An external
    id that another tenant has is left out. A copy beside its original sends no webhooks. Raises
    ArchiveRefused, ArchiveDamaged, TenantBeingPurged and Busy.
    """
    with archive_reader.open_archive(source) as source_archive:
        source_archive.verify(on_progress)
        drop.drop_replaced_schemas(
            database, now=now
        )  # before the import, because a failure afterwards would look like a failed import
        tenant = TenantRef(source_archive.manifest.tenant_id if replace else uuid4())
        try:
            with public_session(database=database) as session:
                imported = _import_archive(
                    session,
                    source_archive,
                    tenant,
                    role_prefix,
                    now,
                    on_progress,
                    services=services,
                )
        except (IntegrityError, KeyError, TypeError, ValueError) as error:
            raise ArchiveRefused(
                "The archived tenant is invalid or conflicts with existing data."
            ) from error
    return imported


def _import_archive(
    session: Session,
    source_archive: Archive,
    tenant: TenantRef,
    role_prefix: str | None,
    now: datetime,
    on_progress: ProgressCallback,
    *,
    services: Services,
) -> ImportResult:
    archived_row, revision = (
        registry_import.parse_tenant_row(source_archive.manifest.tenant),
        schema.head(),
    )
    row = session.get(Tenant, tenant.id, with_for_update=True)
    exists = row is not None
    if row is None:
        row = registry_import.add_tenant_row(
            session, tenant_id=tenant.id, archived_row=archived_row, revision=revision
        )
    else:
        _require_not_purging(row).name, row.plan, row.updated_at = (
            archived_row["name"],
            archived_row["plan"],
            now,
        )
    imported = ImportResult(
        tenant.id,
        source_archive.manifest.tenant_id,
        revision,
        {member.name: member.rows for member in source_archive.manifest.members},
    )
    staged = f"new_{tenant.id.hex}" if exists else tenant.schema
    grantees = roles.grantees(session, tenant_id=tenant.id)
    shared = _archived_tables()
    archive_import.import_archive(
        session,
        source_archive,
        tenant,
        staged,
        grantees=grantees,
        shared=shared,
        on_progress=on_progress,
    )
    roles.grant_usage(session, staged, grantees)
    if exists:
        imported.kept_schema = archive_import.swap_schemas(session, tenant, staged, now=now)
    row.schema_revision = revision
    if "audit_entries" in shared:
        registry_import.import_audit_entries(session, tenant)
    _import_registry_rows(
        session, row, imported, archived_row["external_id"], role_prefix, now, services=services
    )
    return imported


def _import_registry_rows(
    session: Session,
    row: Tenant,
    imported: ImportResult,
    external_id: str | None,
    role_prefix: str | None,
    now: datetime,
    *,
    services: Services,
) -> None:
    """Import the tenant's rows of `public`, and revoke the replaced schema from its role."""
    tenant, hooks = TenantRef(row.id), services.lifecycle_hooks
    if role_prefix is not None and imported.kept_schema is not None:
        roles.revoke_schema(
            session, tenant_id=row.id, prefix=role_prefix, schema=imported.kept_schema
        )
    is_free = registry_import.assign_external_id(session, row, external_id=external_id)
    imported.external_id_taken = not is_free
    imported.numbers_claimed, imported.numbers_taken = registry_import.import_numbers(
        session, row, services=services
    )
    imported.keys_imported, imported.keys_left_out = registry_import.import_keys(session, row)
    archived_id = imported.archived_tenant_id
    imported.unreadable_columns = re_encryption.re_encrypt_tenant(
        session, tenant, hooks, archived_id=archived_id, services=services
    )
    is_copy = archived_id != row.id and session.get(Tenant, archived_id) is not None
    imported_tenant = ImportedTenant(tenant, archived_id, is_copy=is_copy, now=now)
    imported.feature_counts = hooks.import_tenant(session, imported_tenant)


def _archived_tables() -> dict[str, list[str]]:
    """Return the tables of `public` in archives, with the columns that they may lack.

    A column that can be null may have been added since an older release made the archive.
    """
    return {
        table.name: [column.name for column in table.columns if column.nullable]
        for table, rows in tables_of_tenants()
        if rows.archived
    }


def _require_not_purging(row: Tenant) -> Tenant:
    if row.schema_revision == PURGING:
        raise TenantBeingPurged
    return row
