"""Jobs of privacy requests. No transaction is open while the object storage is used."""

from uuid import UUID

from vca.jobs import lanes, queue
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenant.privacy import data_export, erasure, re_erasure
from vca.tenant.privacy.data_export import EXPIRE_JOB
from vca.tenant.privacy.re_erasure import REAPPLY_JOB
from vca.tenant.privacy.requests import ERASE_JOB, EXPORT_JOB


@queue.task(EXPORT_JOB, lane=lanes.BATCH)
def export(tenant_id: str, request_id: str, *, services: Services) -> None:
    """Write all data of a person to one file."""
    data_export.run_export(
        TenantRef(UUID(tenant_id)), request_id=UUID(request_id), services=services
    )


@queue.task(EXPIRE_JOB, lane=lanes.BATCH)
def expire(tenant_id: str, request_id: str, *, services: Services) -> None:
    """Delete an export's file after its day."""
    data_export.delete_expired(
        TenantRef(UUID(tenant_id)), request_id=UUID(request_id), services=services
    )


@queue.task(ERASE_JOB, lane=lanes.BATCH)
def erase(tenant_id: str, request_id: str, *, services: Services) -> None:
    """Erase all data of a person."""
    erasure.run_erasure(TenantRef(UUID(tenant_id)), request_id=UUID(request_id), services=services)


@queue.task(REAPPLY_JOB, lane=lanes.BATCH)
def reapply(tenant_id: str, archived: str, *, services: Services) -> None:
    """Repeat the erasures that an imported archive has undone."""
    re_erasure.reapply_erasures(
        TenantRef(UUID(tenant_id)), archived_tenant_id=UUID(archived), services=services
    )
