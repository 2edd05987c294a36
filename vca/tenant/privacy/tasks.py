"""The jobs of privacy. No transaction is open while the store is asked."""

from uuid import UUID

from vca.kit import jobs
from vca.registry.tenants.adoption import REAPPLY
from vca.tenancy.schema import TenantRef
from vca.tenant.privacy import erasing, exporting, reapplying
from vca.tenant.privacy.exporting import EXPIRE
from vca.tenant.privacy.requests import ERASE, EXPORT


@jobs.task(EXPORT)
def export(tenant_id: str, request_id: str) -> None:
    """Write all that is kept of somebody to one file."""
    exporting.export(TenantRef(UUID(tenant_id)), request_id=UUID(request_id))


@jobs.task(EXPIRE)
def expire(tenant_id: str, request_id: str) -> None:
    """Delete such a file when its day is over."""
    exporting.expire(TenantRef(UUID(tenant_id)), request_id=UUID(request_id))


@jobs.task(ERASE)
def erase(tenant_id: str, request_id: str) -> None:
    """Erase all that is kept of somebody."""
    erasing.erase(TenantRef(UUID(tenant_id)), request_id=UUID(request_id))


@jobs.task(REAPPLY)
def reapply(tenant_id: str, archived: str) -> None:
    """Erase again what an archive has brought back."""
    reapplying.reapply(TenantRef(UUID(tenant_id)), archived=UUID(archived))
