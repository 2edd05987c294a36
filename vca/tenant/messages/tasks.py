"""Jobs that mail messages. No transaction is open while the mail server is contacted."""

from uuid import UUID

from vca.jobs import lanes, queue
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenant.messages import email_notifications
from vca.tenant.messages.email_notifications import MAIL_JOB


@queue.task(MAIL_JOB, lane=lanes.DELIVERIES)
def send(tenant_id: str, message_id: str, attempt: int = 0, *, services: Services) -> None:
    """Mail a message to its tenant."""
    email_notifications.send(
        TenantRef(UUID(tenant_id)), message_id=UUID(message_id), attempt=attempt, services=services
    )
