"""The operator's endpoints as the machinery of webhooks knows them, and what they are told.

A tenant's transaction tells them through `public.tell_operators`, and this is for what is decided
outside of tenants.
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from vca.kit import clock, jobs, log
from vca.registry.webhooks import deliveries
from vca.registry.webhooks.box import Box
from vca.registry.webhooks.models import OperatorDelivery, OperatorWebhook
from vca.tenancy.session import public

DELIVER = "webhooks.deliver_to_operator"
TELL = "webhooks.tell"


def of_tenant(session: Session, *, tenant_id: UUID, type: str, **data: Any) -> None:
    """Tell an event of a tenant's that is decided where its schema cannot be written to.

    The operator's endpoints are told by this transaction; the tenant's own by a job that it orders.
    """
    event_id, now = uuid4(), clock.now()
    told = {"tenant_id": str(tenant_id), "simulated": False, **data}
    _tell(session, event_id, type, told, now=now)
    jobs.enqueue(
        session, TELL, tenant_id=tenant_id, type=type, event_id=event_id, at=now, data=data
    )


def _tell(
    session: Session, event_id: UUID, type: str, data: dict[str, Any], *, now: datetime
) -> None:
    wanted = or_(OperatorWebhook.events == [], OperatorWebhook.events.contains([type]))
    active = select(OperatorWebhook.id).where(OperatorWebhook.is_active, wanted)
    for webhook_id in session.scalars(active).all():
        deliveries.add(
            session,
            OPERATOR,
            webhook_id=webhook_id,
            event_id=event_id,
            type=type,
            data=data,
            now=now,
        )


def _order(session: Session, *, webhook_id: UUID, at: datetime | None, lock: str | None) -> None:
    jobs.enqueue(session, DELIVER, run_at=at, lock=lock, webhook_id=webhook_id)


def _announce(session: Session, type: str, data: dict[str, Any]) -> None:
    """To the operator's other endpoints, and in the log: perhaps there is no other."""
    log.get().warning(type, **data)
    _tell(session, uuid4(), type, data, now=clock.now())


OPERATOR = Box(OperatorWebhook, OperatorDelivery, None, public, _order, _announce)
