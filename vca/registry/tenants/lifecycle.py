"""Take a tenant out as one archive, and bring one in: elsewhere, or over the tenant itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vca.kit import deeds, jobs
from vca.kit.db.bulk import Bulk
from vca.kit.errors import Conflict
from vca.registry.tenants import adoption, product, roles, service
from vca.registry.tenants.adoption import REAPPLY
from vca.registry.tenants.models import PURGING, Tenant
from vca.registry.webhooks import forgetting
from vca.tenancy import archive, drop, loading, reading, schema
from vca.tenancy.archive import Contents, Manifest
from vca.tenancy.reading import Archive, ArchiveRefused
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public

# The public tables that hold rows of a tenant, by `tenant_id`.
SHARED = ("dids", "api_keys", "audit_entries")
# The revision of a tenant's schema whose archives have them.
_SINCE = {"audit_entries": "0007"}
# The columns of them that older archives lack.
LATER = {
    "dids": (
        "telephony_account_id",
        "previous_provider_type",
        "previous_account_id",
        "previous_until",
    )
}
_KEPT_OF_ROW = (
    "name",
    "plan",
    "status",
    "external_id",
    "created_at",
    "updated_at",
    "deleted_at",
)

Told = Callable[[str], object]


class BeingPurged(Conflict):
    """The tenant's purge has begun: what is left of it is not the tenant."""

    code = "being-purged"

    def __init__(self) -> None:
        super().__init__("The tenant is being purged; run `flask tenants purge` to the end.")


@dataclass
class Imported:
    """What an import made of an archive."""

    tenant_id: UUID
    archived_tenant_id: UUID
    schema_revision: str
    rows: dict[str, int]
    kept_schema: str | None = None
    external_id_taken: bool = False
    numbers_claimed: list[str] = field(default_factory=list)
    numbers_taken: list[str] = field(default_factory=list)
    phone_numbers_deactivated: int = 0
    webhooks_deactivated: int = 0
    keys_imported: int = 0
    keys_left_out: int = 0
    unreadable_columns: list[str] = field(default_factory=list)


def export(
    database: Bulk,
    *,
    tenant_id: UUID,
    target: Path,
    now: datetime,
    force: bool = False,
    told: Told = lambda _: None,
) -> Manifest:
    """Write the tenant, whatever its status, to one file; what the file says about itself.

    Raises NotFound, BeingPurged and archive.NotExported.
    """

    def describe(session: Session) -> Contents:
        row = _whole(service.get(session, tenant_id=tenant_id))
        said = {name: getattr(row, name) for name in _KEPT_OF_ROW}
        return Contents(row.schema_revision, now, said)

    with public(database=database) as session:
        describe(session)
        deeds.note(session, "tenant", tenant_id, tenant_id=tenant_id)
    tenant = TenantRef(tenant_id)
    return archive.write(
        database, tenant, target, describe=describe, shared=SHARED, force=force, told=told
    )


def adopt(
    database: Bulk,
    *,
    source: Path,
    replace: bool,
    role_prefix: str | None,
    now: datetime,
    told: Told = lambda _: None,
) -> Imported:
    """Import an archive in one transaction: all of it, or nothing.

    Under a new id; or with `replace` under its own, the schema that is there kept for a week under
    another name. A tenant that is replaced keeps the status and the keys that it has. Keys come in
    only where no key has their id or prefix, numbers where nobody has them; an external id that
    another tenant bears is left out. A copy beside its original tells no webhook. Raises
    ArchiveRefused, ArchiveDamaged, BeingPurged and Busy.
    """
    with reading.opened(source) as found:
        found.verify(told)
        drop.drop_kept(database, now=now)  # before: afterwards a failure would belie the import
        tenant = TenantRef(found.manifest.tenant_id if replace else uuid4())
        try:
            with public(database=database) as session:
                imported = _bring_in(session, found, tenant, role_prefix, now, told)
        except (IntegrityError, KeyError, TypeError, ValueError) as error:
            raise ArchiveRefused("The archived tenant does not fit here.") from error
    return imported


def _bring_in(
    session: Session,
    found: Archive,
    tenant: TenantRef,
    prefix: str | None,
    now: datetime,
    told: Told,
) -> Imported:
    said, revision = adoption.checked(found.manifest.tenant), schema.head()
    row = session.get(Tenant, tenant.id, with_for_update=True)
    present = row is not None
    if row is None:
        row = adoption.add_row(session, tenant_id=tenant.id, said=said, revision=revision)
    else:
        _whole(row).name, row.plan, row.updated_at = said["name"], said["plan"], now
    imported = Imported(
        tenant.id,
        found.manifest.tenant_id,
        revision,
        {member.name: member.rows for member in found.manifest.members},
    )
    staged = f"new_{tenant.id.hex}" if present else tenant.schema
    who = roles.grantees(session, tenant_id=tenant.id)
    at = found.manifest.schema_revision
    shared = {name: LATER.get(name, ()) for name in SHARED if at >= _SINCE.get(name, "")}
    loading.load(session, found, tenant, staged, grantees=who, shared=shared, told=told)
    roles.grant_usage(session, staged, who)
    if present:
        imported.kept_schema = loading.swap(session, tenant, staged, now=now)
    row.schema_revision = revision
    if "audit_entries" in shared:
        adoption.entries(session, tenant)
    _settle(session, row, imported, said["external_id"], prefix, now)
    return imported


def _settle(
    session: Session,
    row: Tenant,
    imported: Imported,
    external_id: str | None,
    prefix: str | None,
    now: datetime,
) -> None:
    """Give what was loaded its place in `public`, and the tenant's role nothing else."""
    tenant, asked = TenantRef(row.id), product.current()
    if prefix is not None and imported.kept_schema is not None:
        roles.withdraw(session, tenant_id=row.id, prefix=prefix, schema=imported.kept_schema)
    free = adoption.take_external_id(session, row, external_id=external_id)
    imported.external_id_taken = not free
    imported.numbers_claimed, imported.numbers_taken = adoption.numbers(session, row)
    imported.keys_imported, imported.keys_left_out = adoption.keys(session, row)
    imported.phone_numbers_deactivated = asked.disown(session, tenant)
    archived = imported.archived_tenant_id
    imported.unreadable_columns = asked.reseal(session, tenant, archived)
    if archived != row.id and session.get(Tenant, archived) is not None:
        imported.webhooks_deactivated = asked.hush(session, tenant)
    asked.recount(session, tenant, now)
    forgetting.order_for(session, tenant_id=row.id, now=now)
    jobs.enqueue(session, REAPPLY, tenant_id=row.id, archived=archived)


def _whole(row: Tenant) -> Tenant:
    if row.schema_revision == PURGING:
        raise BeingPurged
    return row
