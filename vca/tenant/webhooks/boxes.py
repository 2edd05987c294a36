"""A tenant's endpoints as the machinery of webhooks knows them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.registry.webhooks.box import Box
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import DELIVER
from vca.tenant.webhooks.models import Delivery, Webhook


def of(tenant: TenantRef) -> Box:
    """The tenant's box."""
    return Box(Webhook, Delivery, tenant.id, lambda: enter(tenant), _order, _announce)


def _order(session: Session, *, webhook_id: UUID, at: datetime | None, lock: str | None) -> None:
    jobs.enqueue(session, DELIVER, run_at=at, lock=lock, webhook_id=webhook_id)


def _announce(session: Session, type: str, data: dict[str, Any]) -> None:
    events.tell(session, events.Event(type, data))
