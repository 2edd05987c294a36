"""List deliveries, redeliver events, and send test events."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from vca.kit.errors import Conflict, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry import caps
from vca.registry.webhooks import endpoints, payloads
from vca.registry.webhooks.delivery_worker import DELIVERY_LIFETIME
from vca.registry.webhooks.event_types import TEST_EVENT
from vca.registry.webhooks.mixins import DeliveryMixin, EndpointMixin
from vca.registry.webhooks.scope import WebhookScope


class WebhookDisabled(Conflict):
    """The webhook is not active, so nothing is sent to it."""

    code = "webhook-disabled"

    def __init__(self) -> None:
        super().__init__("The webhook is not active. Set `is_active` to true first.")


def list_page(
    session: Session, scope: WebhookScope, *, webhook_id: UUID, page: PageRequest, **filters: Any
) -> Page:
    """Return a page of an endpoint's deliveries, newest first; raise NotFound."""
    endpoints.get(session, scope, webhook_id=webhook_id)
    table: Any = scope.deliveries
    listing = Listing(table, (table.created_at, table.id), newest_first=True)
    return listing.page(session, page, {"webhook_id": webhook_id, **filters})


def redeliver(
    session: Session, scope: WebhookScope, *, webhook_id: UUID, delivery_id: UUID, now: datetime
) -> DeliveryMixin:
    """Send a delivery again with all of its attempts; send a pending one now.

    Raises NotFound and WebhookDisabled.
    """
    webhook = endpoints.get(session, scope, webhook_id=webhook_id, for_update=True)
    row: DeliveryMixin | None = session.get(scope.deliveries, delivery_id, with_for_update=True)
    if row is None or row.webhook_id != webhook_id:
        raise NotFound
    _require_active(webhook)
    _reschedule(session, scope, scope.deliveries.id == delivery_id, now=now)
    endpoints.schedule_delivery(session, scope, webhook_id=webhook_id)
    session.refresh(row)
    return row


def redeliver_range(
    session: Session,
    scope: WebhookScope,
    *,
    webhook_id: UUID,
    since: datetime,
    until: datetime,
    now: datetime,
    status: str | None = None,
) -> int:
    """Redeliver events created from `since` until before `until`; return their number.

    `status` restricts them to deliveries of one status. Raises NotFound and WebhookDisabled.
    """
    _require_active(endpoints.get(session, scope, webhook_id=webhook_id, for_update=True))
    table = scope.deliveries
    conditions = [
        table.webhook_id == webhook_id,
        table.created_at >= since,
        table.created_at < until,
    ]
    if status is not None:
        conditions.append(table.status == status)
    rescheduled_count = _reschedule(session, scope, *conditions, now=now)
    endpoints.schedule_delivery(session, scope, webhook_id=webhook_id)
    return rescheduled_count


def send_test_event(
    session: Session, scope: WebhookScope, *, webhook_id: UUID, now: datetime
) -> DeliveryMixin:
    """Send a `webhook.test` event. Raises NotFound, WebhookDisabled and LimitReached."""
    _require_active(endpoints.get(session, scope, webhook_id=webhook_id, for_update=True))
    table = scope.deliveries
    tests_of_day = select(table.id).where(
        table.webhook_id == webhook_id,
        table.type == TEST_EVENT,
        table.created_at > now - timedelta(days=1),
    )
    caps.require_capacity(session, "test_events", tests_of_day, owner=webhook_id.hex)
    data = {"webhook_id": str(webhook_id)}
    if scope.tenant_id is not None:
        data["tenant_id"] = str(scope.tenant_id)
    return add_delivery(
        session, scope, webhook_id=webhook_id, event_id=uuid4(), type=TEST_EVENT, data=data, now=now
    )


def add_delivery(
    session: Session,
    scope: WebhookScope,
    *,
    webhook_id: UUID,
    event_id: UUID,
    type: str,
    data: Mapping[str, Any],
    now: datetime,
) -> DeliveryMixin:
    """Add an event for an active endpoint. Raises ValueError if the event is too large."""
    payloads.check_size(type, data)
    row = scope.deliveries(
        id=uuid4(),
        webhook_id=webhook_id,
        event_id=event_id,
        type=type,
        payload={"type": type, "timestamp": now, "data": data},
        next_attempt_at=now,
        expires_at=now + DELIVERY_LIFETIME,
        created_at=now,
    )
    session.add(row)
    session.flush()
    endpoints.schedule_delivery(session, scope, webhook_id=webhook_id)
    session.refresh(row)
    return row


def _require_active(webhook: EndpointMixin) -> None:
    if not webhook.is_active:
        raise WebhookDisabled


def _reschedule(session: Session, scope: WebhookScope, *conditions: Any, now: datetime) -> int:
    values = {
        "status": "pending",
        "tries": 0,
        "next_attempt_at": now,
        "expires_at": now + DELIVERY_LIFETIME,
    }
    statement = update(scope.deliveries).where(*conditions).values(**values, updated_at=func.now())
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)
