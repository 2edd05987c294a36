"""Jobs that mail messages. No transaction is open while the server of mail is asked."""

from uuid import UUID

from vca.kit import jobs
from vca.tenancy.schema import TenantRef
from vca.tenant.messages import mailing
from vca.tenant.messages.mailing import MAIL


@jobs.task(MAIL)
def send(tenant_id: str, message_id: str, attempt: int = 0) -> None:
    """Mail a message to its tenant."""
    mailing.send(TenantRef(UUID(tenant_id)), message_id=UUID(message_id), attempt=attempt)
