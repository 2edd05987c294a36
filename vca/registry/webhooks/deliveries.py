"""What was sent to an endpoint and what came of it; send it again, or a test."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from vca.kit.errors import Conflict, NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry.webhooks import endpoints, payloads
from vca.registry.webhooks.box import Box
from vca.registry.webhooks.columns import DeliveryColumns, EndpointColumns
from vca.registry.webhooks.delivering import EXPIRES
from vca.registry.webhooks.event_types import TEST


class WebhookDisabled(Conflict):
    """Nothing is sent to an endpoint that is not active."""

    code = "webhook-disabled"

    def __init__(self) -> None:
        super().__init__("The webhook is not active: set is_active first.")


def list_page(
    session: Session, box: Box, *, webhook_id: UUID, page: PageRequest, **filters: Any
) -> Page:
    """An endpoint's deliveries, newest first; raises NotFound."""
    endpoints.get(session, box, webhook_id=webhook_id)
    table: Any = box.deliveries
    listing = Listing(table, (table.created_at, table.id), newest_first=True)
    return listing.page(session, page, {"webhook_id": webhook_id, **filters})


def replay(
    session: Session, box: Box, *, webhook_id: UUID, delivery_id: UUID, now: datetime
) -> DeliveryColumns:
    """Send one again, with all of its tries; one that still waits is sent now.

    Raises NotFound and WebhookDisabled.
    """
    webhook = endpoints.get(session, box, webhook_id=webhook_id, for_update=True)
    row: DeliveryColumns | None = session.get(box.deliveries, delivery_id, with_for_update=True)
    if row is None or row.webhook_id != webhook_id:
        raise NotFound
    _require_active(webhook)
    _arm(session, box, box.deliveries.id == delivery_id, now=now)
    endpoints.wake(session, box, webhook_id=webhook_id)
    session.refresh(row)
    return row


def replay_range(
    session: Session,
    box: Box,
    *,
    webhook_id: UUID,
    since: datetime,
    until: datetime,
    now: datetime,
    status: str | None = None,
) -> int:
    """Send again what was told in that time, of one status or of any; how many those are.

    Raises NotFound and WebhookDisabled.
    """
    _require_active(endpoints.get(session, box, webhook_id=webhook_id, for_update=True))
    table = box.deliveries
    wanted = [table.webhook_id == webhook_id, table.created_at >= since, table.created_at < until]
    if status is not None:
        wanted.append(table.status == status)
    armed = _arm(session, box, *wanted, now=now)
    endpoints.wake(session, box, webhook_id=webhook_id)
    return armed


def test(session: Session, box: Box, *, webhook_id: UUID, now: datetime) -> DeliveryColumns:
    """Send an event that nothing has happened for. Raises NotFound and WebhookDisabled."""
    _require_active(endpoints.get(session, box, webhook_id=webhook_id, for_update=True))
    data = {"webhook_id": str(webhook_id)}
    if box.tenant_id is not None:
        data["tenant_id"] = str(box.tenant_id)
    return add(session, box, webhook_id=webhook_id, event_id=uuid4(), type=TEST, data=data, now=now)


def add(
    session: Session,
    box: Box,
    *,
    webhook_id: UUID,
    event_id: UUID,
    type: str,
    data: Mapping[str, Any],
    now: datetime,
) -> DeliveryColumns:
    """Have an event sent to one endpoint, which is active. Raises ValueError for one too large."""
    payloads.check(type, data)
    row = box.deliveries(
        id=uuid4(),
        webhook_id=webhook_id,
        event_id=event_id,
        type=type,
        payload={"type": type, "timestamp": now, "data": data},
        next_attempt_at=now,
        expires_at=now + EXPIRES,
        created_at=now,
    )
    session.add(row)
    session.flush()
    endpoints.wake(session, box, webhook_id=webhook_id)
    session.refresh(row)
    return row


def _require_active(webhook: EndpointColumns) -> None:
    if not webhook.is_active:
        raise WebhookDisabled


def _arm(session: Session, box: Box, *wanted: Any, now: datetime) -> int:
    fresh = {"status": "pending", "tries": 0, "next_attempt_at": now, "expires_at": now + EXPIRES}
    changed = update(box.deliveries).where(*wanted).values(**fresh, updated_at=func.now())
    armed: Any = session.execute(changed, execution_options={"synchronize_session": False})
    return int(armed.rowcount)
