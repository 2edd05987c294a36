"""The tenant as an owner of webhooks, for the delivery mechanism of `vca.registry.webhooks`."""

from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.registry.webhooks.scope import WebhookScope
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import DELIVER_JOB
from vca.tenant.webhooks.models import Delivery, Webhook


def for_tenant(tenant: TenantRef) -> WebhookScope:
    """Return the tenant's webhook scope."""
    return WebhookScope(
        Webhook,
        Delivery,
        tenant.id,
        partial(_open_session, tenant),
        _schedule_delivery,
        _emit,
    )


def _open_session(tenant: TenantRef, database: TenantDatabase) -> AbstractContextManager[Session]:
    return tenant_session(tenant, database=database)


def _schedule_delivery(
    session: Session, *, webhook_id: UUID, due_at: datetime | None, lock: str | None
) -> None:
    queue.enqueue(session, DELIVER_JOB, run_at=due_at, lock=lock, webhook_id=webhook_id)


def _emit(session: Session, type: str, data: dict[str, Any]) -> None:
    events.emit(session, events.Event(type, data))
