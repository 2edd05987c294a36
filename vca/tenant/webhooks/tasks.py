"""Jobs that deliver and purge events. No transaction is open while a webhook is called."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from vca.jobs import lanes, queue
from vca.kit import clock
from vca.registry.webhooks import delivery_worker, retention
from vca.registry.webhooks.models import PlatformDelivery
from vca.registry.webhooks.platform_scope import EMIT_JOB
from vca.registry.webhooks.retention import PURGE_JOB
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.settings import service as settings
from vca.tenant.webhooks import events, tenant_scope
from vca.tenant.webhooks.events import DELIVER_JOB
from vca.tenant.webhooks.models import Delivery, WebhookEvent


@queue.task(DELIVER_JOB, lane=lanes.DELIVERIES)
def deliver(tenant_id: str, webhook_id: str, *, services: Services) -> None:
    """Send the due deliveries of a tenant's webhook."""
    scope = tenant_scope.for_tenant(TenantRef(UUID(tenant_id)))
    delivery_worker.deliver_due(
        scope, webhook_id=UUID(webhook_id), client=services.http_client, services=services
    )


@queue.task(EMIT_JOB, lane=lanes.DELIVERIES)
def emit(
    tenant_id: str, type: str, event_id: str, at: str, data: dict[str, Any], *, services: Services
) -> None:
    """Emit an event of a tenant that originates outside its schema."""
    event = events.Event(type, data, id=UUID(event_id))
    with tenant_session(TenantRef(UUID(tenant_id)), database=services.database) as session:
        events.emit(session, event, now=datetime.fromisoformat(at))


@queue.task(PURGE_JOB, lane=lanes.BATCH)
def purge(tenant_id: str | None = None, *, services: Services) -> None:
    """Delete events and deliveries of a tenant, or of the platform, after 30 days.

    A tenant may have set a shorter retention.
    """
    if tenant_id is None:
        with public_session(database=services.database) as session:
            retention.purge_expired(session, tables=[PlatformDelivery], now=clock.now())
    else:
        with tenant_session(TenantRef(UUID(tenant_id)), database=services.database) as session:
            days = settings.retention_days(session, "payloads")
            retention_period = retention.RETENTION if days is None else timedelta(days=days)
            tables = [Delivery, WebhookEvent]
            retention.purge_expired(
                session, tables=tables, now=clock.now(), retention=retention_period
            )
