"""The webhook scope of the platform, and the events that are decided outside of tenants.

A tenant's transaction emits events to the platform through `public.tell_operators` instead.
"""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.kit import clock
from vca.observability import log
from vca.registry.webhooks import deliveries
from vca.registry.webhooks.models import PlatformDelivery, PlatformWebhook
from vca.registry.webhooks.scope import WebhookScope
from vca.services.lifecycle_hooks import StatusChange
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import public_session

DELIVER_JOB = "webhooks.deliver_to_operator"


def emit_status_event(session: Session, change: StatusChange) -> None:
    """Send the event of a tenant's status change to the platform's webhooks.

    A job adds the deliveries of the tenant's own webhooks, whose tables this transaction cannot
    write to.
    """
    payload = {"tenant_id": str(change.tenant_id), "simulated": False, "before": change.before}
    _emit(session, change.event_id, change.event_type, payload, now=change.changed_at)


def _emit(
    session: Session, event_id: UUID, type: str, data: dict[str, Any], *, now: datetime
) -> None:
    subscribed = or_(PlatformWebhook.events == [], PlatformWebhook.events.contains([type]))
    active = select(PlatformWebhook.id).where(PlatformWebhook.is_active, subscribed)
    for webhook_id in session.scalars(active).all():
        deliveries.add_delivery(
            session,
            PLATFORM_SCOPE,
            webhook_id=webhook_id,
            event_id=event_id,
            type=type,
            data=data,
            now=now,
        )


def _schedule_job(
    session: Session, *, webhook_id: UUID, due_at: datetime | None, lock: str | None
) -> None:
    queue.enqueue(session, DELIVER_JOB, run_at=due_at, lock=lock, webhook_id=webhook_id)


def _emit_event(session: Session, type: str, data: dict[str, Any]) -> None:
    """Send an event to the platform's other webhooks, and log it, in case there is none."""
    log.get_logger().warning(type, **data)
    _emit(session, uuid4(), type, data, now=clock.now())


def _open_session(database: TenantDatabase) -> AbstractContextManager[Session]:
    return public_session(database=database)


PLATFORM_SCOPE = WebhookScope(
    PlatformWebhook, PlatformDelivery, None, _open_session, _schedule_job, _emit_event
)
