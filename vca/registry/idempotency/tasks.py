"""The job that deletes expired idempotency keys; every write of a key schedules it."""

from uuid import UUID

from vca.jobs import lanes, queue
from vca.kit import clock
from vca.registry.idempotency import service
from vca.registry.idempotency.models import PLATFORM_TABLE
from vca.registry.idempotency.service import CLEANUP_JOB
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session


@queue.task(CLEANUP_JOB, lane=lanes.BATCH)
def sweep(tenant_id: str | None = None, *, services: Services) -> None:
    """Delete the expired keys of a tenant, or of the platform if `tenant_id` is None."""
    if tenant_id is None:
        with public_session(database=services.database) as session:
            service.delete_expired(session, table=PLATFORM_TABLE, now=clock.now())
    else:
        tenant = TenantRef(UUID(tenant_id))
        services.lifecycle_hooks.purge_expired(
            CLEANUP_JOB, tenant, now=clock.now(), services=services
        )
