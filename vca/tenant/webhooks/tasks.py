"""Jobs that deliver and emit events. No transaction is open while a webhook is called."""

from datetime import datetime
from typing import Any
from uuid import UUID

from vca.jobs import lanes, queue
from vca.registry.webhooks import delivery_worker
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import events, tenant_scope
from vca.tenant.webhooks.events import DELIVER_JOB, EMIT_JOB


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
