"""Events of tenants that are decided in `public`, where their schemas cannot be written to."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from vca.kit import jobs

TELL = "webhooks.tell"


def order(session: Session, *, tenant_id: UUID, type: str, **data: Any) -> None:
    """Have a tenant's event told by a job, which this transaction orders once."""
    jobs.enqueue(session, TELL, tenant_id=tenant_id, type=type, event_id=uuid4(), data=data)
