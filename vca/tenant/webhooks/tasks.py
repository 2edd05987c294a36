"""Jobs that send events and forget them; no transaction is open while an endpoint is asked."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from vca.jobs import queue
from vca.kit import clock, http
from vca.registry.webhooks import delivery_worker, retention
from vca.registry.webhooks.models import PlatformDelivery
from vca.registry.webhooks.platform_scope import EMIT_JOB
from vca.registry.webhooks.retention import PURGE_JOB
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.settings import service as settings
from vca.tenant.webhooks import events, tenant_scope
from vca.tenant.webhooks.events import DELIVER_JOB
from vca.tenant.webhooks.models import Delivery, WebhookEvent


@queue.task(DELIVER_JOB)
def deliver(tenant_id: str, webhook_id: str) -> None:
    """Send what is due to an endpoint of a tenant."""
    scope = tenant_scope.for_tenant(TenantRef(UUID(tenant_id)))
    delivery_worker.deliver_due(scope, webhook_id=UUID(webhook_id), client=http.current_client())


@queue.task(EMIT_JOB)
def emit(tenant_id: str, type: str, event_id: str, at: str, data: dict[str, Any]) -> None:
    """Tell an event of a tenant that was decided outside its schema."""
    event = events.Event(type, data, id=UUID(event_id))
    with tenant_session(TenantRef(UUID(tenant_id))) as session:
        events.emit(session, event, now=datetime.fromisoformat(at))


@queue.task(PURGE_JOB)
def purge(tenant_id: str | None = None) -> None:
    """Forget what was told a tenant's endpoints, or the operator's, thirty days ago or earlier.

    A tenant may want that sooner.
    """
    if tenant_id is None:
        with public_session() as session:
            retention.purge_expired(session, tables=[PlatformDelivery], now=clock.now())
    else:
        with tenant_session(TenantRef(UUID(tenant_id))) as session:
            days = settings.retention_days(session, "payloads")
            retention_period = retention.RETENTION if days is None else timedelta(days=days)
            tables = [Delivery, WebhookEvent]
            retention.purge_expired(
                session, tables=tables, now=clock.now(), retention=retention_period
            )
