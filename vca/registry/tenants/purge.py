"""Purge a deleted tenant: its schemas, role, jobs, files and rows of `public`.

The purge consists of many short transactions, and each of them may be the last. The tenant's row is
deleted at the end, so that a purge that was killed can be found, and finished by running it again.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from vca.kit.db.copy_driver import BulkDatabase
from vca.kit.errors import NotFound, Unavailable
from vca.kit.storage import StorageError
from vca.registry.base import tables_of_tenants
from vca.registry.tenants import service
from vca.registry.tenants.models import PURGING, Tenant
from vca.registry.tenants.service import TransitionRefused
from vca.services import Services
from vca.tenancy import drop
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session

# A job's events are deleted with it. A running job ends with an error and is deleted at the end.
_DELETE_JOBS = "DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id"
_NOT_RUNNING = " AND status <> 'doing'"
_COUNT_REGISTERED_NUMBERS = text("""
SELECT count(*) FROM public.dids
WHERE tenant_id = :tenant AND registration_status IN ('registered', 'pending')
""")
_MAY_REMAIN = (
    "earlier versions of recordings, if the bucket is versioned",
    "archives made with `flask tenants export`, until their owners delete them",
    "backups of the database and its write-ahead log, until they expire",
    "the platform's audit log: ids, operations on the tenant, their actors and times",
    "webhook events that were sent: ids and outcomes of calls; platform webhooks' for 30 days",
    "log lines with the tenant's id, without contents of calls, until they are rotated",
    "keyed hashes of erased callers' numbers, to erase them again after a restore of a backup",
    "call records and numbers at the carriers, under the carriers' own terms",
    "requests to the model's provider, under the provider's own terms",
)


class FilesLeft(Unavailable):
    """The store that holds the tenant's recordings is unavailable."""

    code = "files-left"

    def __init__(self) -> None:
        super().__init__(
            "The recording store is unavailable. The tenant's schema was deleted, its recordings"
            " were not. Run the purge again."
        )


@dataclass
class PurgeResult:
    """What a purge has removed; counts only, no contents.

    `resumed` is true if an earlier purge had begun; what that one removed is not counted.
    `numbers_at_carriers` counts numbers that may still be registered at their carrier. `files`
    counts recordings in the store.
    """

    tenant_id: UUID
    resumed: bool = False
    schema: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    kept_schemas: list[str] = field(default_factory=list)
    role: str = "none"
    public_rows: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    numbers_at_carriers: int = 0
    files: int = 0


def purge_tenant(
    database: BulkDatabase,
    *,
    services: Services,
    tenant_id: UUID,
    role_prefix: str | None,
    now: datetime,
) -> PurgeResult:
    """Purge a deleted tenant; its numbers, including quarantined ones, are free afterwards.

    Raises NotFound, TransitionRefused for a tenant that is not deleted, Busy and FilesLeft. If it
    is interrupted, running it again continues. It also drops replaced schemas of all tenants whose
    retention has ended.
    """
    tenant = TenantRef(tenant_id)
    result = _begin_purge(database, tenant)

    def guard(session: Session) -> None:
        _lock_deleted_tenant(session, tenant_id)

    result.kept_schemas = drop.drop_replaced_schemas(
        database, now=now, tenant_schemas=[tenant.schema]
    )
    result.tables = drop.drop_schema(database, tenant.schema, guard=guard)
    result.schema = tenant.schema
    if role_prefix is not None:
        result.role = drop.drop_role(database, tenant.role(role_prefix))
    result.files = _delete_files(
        tenant, services=services
    )  # last, because no job of the tenant can write files any more
    _finish_purge(database, tenant, result)
    return result


def erase_tenant(
    database: BulkDatabase,
    *,
    services: Services,
    tenant_id: UUID,
    role_prefix: str | None,
    now: datetime,
) -> PurgeResult:
    """Delete the tenant unless it is deleted, and purge it. Raises NotFound, Busy, FilesLeft."""
    with public_session(database=database) as session:
        if service.get(session, tenant_id=tenant_id).status != "deleted":
            service.update(session, tenant_id=tenant_id, status="deleted", services=services)
    return purge_tenant(
        database, tenant_id=tenant_id, role_prefix=role_prefix, now=now, services=services
    )


def erasure_certificate(result: PurgeResult, *, now: datetime) -> dict[str, Any]:
    """Return what was erased and what may remain elsewhere; it contains no personal data."""
    return {
        "certificate": "erasure of a tenant",
        "erased_at": now,
        "removed": asdict(result),
        "may_remain": list(_MAY_REMAIN),
    }


def _begin_purge(database: BulkDatabase, tenant: TenantRef) -> PurgeResult:
    """Mark the tenant as being purged: from this commit on it cannot be restored."""
    result = PurgeResult(tenant.id)
    with public_session(database=database) as session:
        row = _lock_deleted_tenant(session, tenant.id)
        result.resumed = row.schema_revision == PURGING
        row.schema_revision = PURGING
        result.numbers_at_carriers = (
            session.scalar(_COUNT_REGISTERED_NUMBERS, {"tenant": tenant.id}) or 0
        )
        result.jobs = _delete_jobs(session, _DELETE_JOBS + _NOT_RUNNING, tenant)
    return result


def _delete_files(tenant: TenantRef, *, services: Services) -> int:
    try:
        return services.lifecycle_hooks.purge_files(tenant, services=services)
    except StorageError as error:
        raise FilesLeft from error


def _finish_purge(database: BulkDatabase, tenant: TenantRef, result: PurgeResult) -> None:
    with public_session(database=database) as session:
        row = _lock_deleted_tenant(session, tenant.id)
        result.jobs += _delete_jobs(session, _DELETE_JOBS, tenant)
        for table, rows in tables_of_tenants():
            if rows.purged:
                deletion = session.execute(delete(table).where(table.c.tenant_id == tenant.id))
                result.public_rows[table.name] = _row_count(deletion)
        session.delete(row)
        result.public_rows["tenants"] = 1


def _delete_jobs(session: Session, statement: str, tenant: TenantRef) -> int:
    return _row_count(session.execute(text(statement), {"id": str(tenant.id)}))


def _lock_deleted_tenant(session: Session, tenant_id: UUID) -> Tenant:
    """Lock and return the row of a deleted tenant while a batch is dropped."""
    row = session.get(Tenant, tenant_id, with_for_update=True)
    if row is None:
        raise NotFound
    if row.status != "deleted":
        raise TransitionRefused(f"Only a deleted tenant can be purged; this one is {row.status}.")
    return row


def _row_count(cursor_result: Any) -> int:
    count: int = cursor_result.rowcount
    return count
