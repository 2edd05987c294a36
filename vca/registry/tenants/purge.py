"""Make a deleted tenant gone for good: its schemas, its role, its jobs, its rows of `public`.

Many short transactions, in an order in which each can be the last: the tenants row goes at the end,
so a purge that was killed is found, and finished by running it again.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit.db.bulk import Bulk
from vca.kit.errors import NotFound, Unavailable
from vca.kit.storage import StorageError
from vca.registry.tenants import product, service
from vca.registry.tenants.models import PURGING, Tenant
from vca.registry.tenants.service import TransitionRefused
from vca.tenancy import drop
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public

# The events of a job go with it. One that is at work ends in an error and is swept at the end.
_JOBS = "DELETE FROM jobs.procrastinate_jobs WHERE args->>'tenant_id' = :id"
_AT_REST = " AND status <> 'doing'"
_AT_CARRIERS = text("""
SELECT count(*) FROM public.dids
WHERE tenant_id = :tenant AND registration_status IN ('registered', 'pending')
""")
_ROWS = (
    ("api_keys", text("DELETE FROM public.api_keys WHERE tenant_id = :tenant")),
    ("dids", text("DELETE FROM public.dids WHERE tenant_id = :tenant")),
    ("usage_periods", text("DELETE FROM public.usage_periods WHERE tenant_id = :tenant")),
    ("tenants", text("DELETE FROM public.tenants WHERE id = :tenant")),
)
_ELSEWHERE = (
    "earlier versions of recordings, where their bucket keeps versions",
    "archives made with `flask tenants export`, until whoever keeps them deletes them",
    "backups of the database and its write-ahead log, until they expire",
    "entries of the platform's audit: ids, and when what was done to the tenant by whom",
    "what webhooks were sent, ids and how calls ended; of the operator's, here too for 30 days",
    "log lines with the tenant's id, without contents of calls, until they are rotated away",
    "keyed hashes of numbers that were erased here, so that a backup's copy is erased again",
    "call records and numbers at the carriers, under the carriers' own terms",
    "what was sent to the model's provider, under the provider's own terms",
)


class FilesLeft(Unavailable):
    """The store that holds the tenant's recordings is away."""

    code = "files-left"

    def __init__(self) -> None:
        super().__init__(
            "The store of recordings is away: the tenant's schema is gone, its recordings are not."
            " Run the purge again."
        )


@dataclass
class Removed:
    """What a purge has removed; counts only, nothing of the contents.

    `resumed` when an earlier purge had begun: what that one removed is not counted here.
    `numbers_at_carriers` are those whose carrier had not yet been told, or had not confirmed.
    `files` are recordings in the store.
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


def purge(database: Bulk, *, tenant_id: UUID, role_prefix: str | None, now: datetime) -> Removed:
    """Remove a deleted tenant; its numbers, resting ones too, are free from now on.

    Raises NotFound, TransitionRefused for a tenant that is not deleted, Busy and FilesLeft.
    Whatever stops it, running it again goes on where it stopped. Also drops what replaced schemas
    have been kept for their week, whoever's they were.
    """
    tenant = TenantRef(tenant_id)
    removed = _begin(database, tenant)

    def guard(session: Session) -> None:
        _locked(session, tenant_id)

    removed.kept_schemas = drop.drop_kept(database, now=now, of=[tenant.schema])
    removed.tables = drop.drop_schema(database, tenant.schema, guard=guard)
    removed.schema = tenant.schema
    if role_prefix is not None:
        removed.role = drop.drop_role(database, tenant.role(role_prefix))
    removed.files = _discard(tenant)  # last: no job of the tenant's can write there any more
    _end(database, tenant, removed)
    return removed


def erase(database: Bulk, *, tenant_id: UUID, role_prefix: str | None, now: datetime) -> Removed:
    """Delete the tenant unless it is deleted, and purge it. Raises NotFound, Busy, FilesLeft."""
    with public(database=database) as session:
        if service.get(session, tenant_id=tenant_id).status != "deleted":
            service.update(session, tenant_id=tenant_id, status="deleted")
    return purge(database, tenant_id=tenant_id, role_prefix=role_prefix, now=now)


def certificate(removed: Removed, *, now: datetime) -> dict[str, Any]:
    """What was erased and what may remain elsewhere; holds no personal data."""
    return {
        "certificate": "erasure of a tenant",
        "erased_at": now,
        "removed": asdict(removed),
        "may_remain": list(_ELSEWHERE),
    }


def _begin(database: Bulk, tenant: TenantRef) -> Removed:
    """From this commit on the tenant cannot be restored, only purged to the end."""
    removed = Removed(tenant.id)
    with public(database=database) as session:
        row = _locked(session, tenant.id)
        removed.resumed = row.schema_revision == PURGING
        row.schema_revision = PURGING
        removed.numbers_at_carriers = session.scalar(_AT_CARRIERS, {"tenant": tenant.id}) or 0
        removed.jobs = _rows(session, _JOBS + _AT_REST, tenant)
    return removed


def _discard(tenant: TenantRef) -> int:
    try:
        return product.current().discard(tenant)
    except StorageError as error:
        raise FilesLeft from error


def _end(database: Bulk, tenant: TenantRef, removed: Removed) -> None:
    with public(database=database) as session:
        _locked(session, tenant.id)
        removed.jobs += _rows(session, _JOBS, tenant)
        for name, statement in _ROWS:
            done = session.execute(statement, {"tenant": tenant.id})
            removed.public_rows[name] = _count(done)


def _rows(session: Session, statement: str, tenant: TenantRef) -> int:
    return _count(session.execute(text(statement), {"id": str(tenant.id)}))


def _locked(session: Session, tenant_id: UUID) -> Tenant:
    """The tenant's row, which stays as it is while a batch is dropped."""
    row = session.get(Tenant, tenant_id, with_for_update=True)
    if row is None:
        raise NotFound
    if row.status != "deleted":
        raise TransitionRefused(f"Only a deleted tenant can be purged; this one is {row.status}.")
    return row


def _count(done: Any) -> int:
    count: int = done.rowcount
    return count
