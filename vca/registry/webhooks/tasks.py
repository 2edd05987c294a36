"""The job that sends tenants' events to the operator."""

from uuid import UUID

from vca.jobs import queue
from vca.kit import http
from vca.registry.webhooks import delivery_worker
from vca.registry.webhooks.platform_scope import DELIVER_JOB, PLATFORM_SCOPE


@queue.task(DELIVER_JOB)
def deliver(webhook_id: str) -> None:
    """Send what is due to one of the operator's endpoints."""
    delivery_worker.deliver_due(
        PLATFORM_SCOPE, webhook_id=UUID(webhook_id), client=http.current_client()
    )
