"""The job that sends tenants' events to the operator."""

from uuid import UUID

from vca.kit import http, jobs
from vca.registry.webhooks import delivering
from vca.registry.webhooks.operator import DELIVER, OPERATOR


@jobs.task(DELIVER)
def deliver(webhook_id: str) -> None:
    """Send what is due to one of the operator's endpoints."""
    delivering.deliver(OPERATOR, webhook_id=UUID(webhook_id), client=http.current())
