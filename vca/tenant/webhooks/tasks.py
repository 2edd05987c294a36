"""Jobs that send events and forget them; no transaction is open while an endpoint is asked."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from vca.kit import clock, http, jobs
from vca.registry.webhooks import delivering, forgetting
from vca.registry.webhooks.forgetting import FORGET
from vca.registry.webhooks.models import OperatorDelivery
from vca.registry.webhooks.operator import TELL
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter, public
from vca.tenant.settings import service as settings
from vca.tenant.webhooks import boxes, events
from vca.tenant.webhooks.events import DELIVER
from vca.tenant.webhooks.models import Delivery, ToldEvent


@jobs.task(DELIVER)
def deliver(tenant_id: str, webhook_id: str) -> None:
    """Send what is due to an endpoint of a tenant."""
    box = boxes.of(TenantRef(UUID(tenant_id)))
    delivering.deliver(box, webhook_id=UUID(webhook_id), client=http.current())


@jobs.task(TELL)
def tell(tenant_id: str, type: str, event_id: str, at: str, data: dict[str, Any]) -> None:
    """Tell an event of a tenant that was decided outside its schema."""
    event = events.Event(type, data, id=UUID(event_id))
    with enter(TenantRef(UUID(tenant_id))) as session:
        events.tell(session, event, now=datetime.fromisoformat(at))


@jobs.task(FORGET)
def forget(tenant_id: str | None = None) -> None:
    """Forget what was told a tenant's endpoints, or the operator's, thirty days ago or earlier.

    A tenant may want that sooner.
    """
    if tenant_id is None:
        with public() as session:
            forgetting.forget(session, tables=[OperatorDelivery], now=clock.now())
    else:
        with enter(TenantRef(UUID(tenant_id))) as session:
            days = settings.retention_days(session, "payloads")
            kept = forgetting.KEPT if days is None else timedelta(days=days)
            tables = [Delivery, ToldEvent]
            forgetting.forget(session, tables=tables, now=clock.now(), kept=kept)
