"""The job that sends tenants' events to the platform's webhooks."""

from uuid import UUID

from vca.jobs import lanes, queue
from vca.registry.webhooks import delivery_worker
from vca.registry.webhooks.platform_scope import DELIVER_JOB, PLATFORM_SCOPE
from vca.services import Services


@queue.task(DELIVER_JOB, lane=lanes.DELIVERIES)
def deliver(webhook_id: str, *, services: Services) -> None:
    """Send due deliveries to one of the platform's webhooks."""
    delivery_worker.deliver_due(
        PLATFORM_SCOPE, webhook_id=UUID(webhook_id), client=services.http_client, services=services
    )
