"""The job that deletes what was kept under Idempotency-Keys; each write of one orders it."""

from uuid import UUID

from sqlalchemy import Table

from vca.kit import clock, jobs
from vca.registry.idempotency import service
from vca.registry.idempotency.models import IdempotencyKey as PlatformsKey
from vca.registry.idempotency.service import SWEEP
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, public
from vca.tenant.idempotency.models import IdempotencyKey

PLATFORMS: Table = PlatformsKey.__table__  # type: ignore[assignment] # typed as FromClause
TENANTS: Table = IdempotencyKey.__table__  # type: ignore[assignment]


@jobs.task(SWEEP)
def sweep(tenant_id: str | None = None) -> None:
    """Sweep a tenant's table, or the platform's."""
    if tenant_id is None:
        with public() as session:
            service.sweep(session, table=PLATFORMS, now=clock.now())
    else:
        with enter(TenantRef(UUID(tenant_id))) as session:
            service.sweep(session, table=TENANTS, now=clock.now())
