"""Jobs of webhooks: send events to the platform's webhooks, and purge events."""

from uuid import UUID

from vca.jobs import lanes, queue
from vca.kit import clock
from vca.registry.webhooks import delivery_worker, retention
from vca.registry.webhooks.models import PlatformDelivery
from vca.registry.webhooks.platform_scope import DELIVER_JOB, PLATFORM_SCOPE
from vca.registry.webhooks.retention import PURGE_JOB
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session


@queue.task(DELIVER_JOB, lane=lanes.DELIVERIES)
def deliver(webhook_id: str, *, services: Services) -> None:
    """Send due deliveries to one of the platform's webhooks."""
    delivery_worker.deliver_due(
        PLATFORM_SCOPE, webhook_id=UUID(webhook_id), client=services.http_client, services=services
    )


@queue.task(PURGE_JOB, lane=lanes.BATCH)
def purge(tenant_id: str | None = None, *, services: Services) -> None:
    """Delete expired events and deliveries of a tenant, or of the platform."""
    if tenant_id is None:
        with public_session(database=services.database) as session:
            retention.purge_expired(session, tables=[PlatformDelivery], now=clock.now())
    else:
        tenant = TenantRef(UUID(tenant_id))
        services.lifecycle_hooks.purge_expired(
            PURGE_JOB, tenant, now=clock.now(), services=services
        )
