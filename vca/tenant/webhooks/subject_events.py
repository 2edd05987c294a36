"""Export and erase the events about a person's calls and messages."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from vca.services.lifecycle_hooks import SubjectRecords
from vca.tenant.base import any_id, execute_count
from vca.tenant.webhooks.models import Delivery, Webhook, WebhookEvent

# The fields that pending webhook deliveries keep. Receivers can read the rest through the API.
_PAYLOAD_IDS = ("tenant_id", "simulated", "call_id", "message_id", "recording_id")
_DELETE_PLATFORM_EVENTS = text("SELECT public.forget_told(CAST(:events AS uuid[]))")


def list_payloads(session: Session, call_ids: Sequence[UUID]) -> Mapping[UUID, list[Any]]:
    """Return the payloads of the calls' webhook deliveries by call id."""
    call_id = Delivery.payload["data"]["call_id"].astext
    is_of_calls = call_id.in_([str(value) for value in call_ids])
    payloads_by_call: dict[UUID, list[Any]] = defaultdict(list)
    query = select(call_id, Delivery.payload).where(is_of_calls).order_by(Delivery.created_at)
    for payload_call_id, payload in session.execute(query):
        payloads_by_call[UUID(payload_call_id)].append(payload)
    return payloads_by_call


def erase_events(session: Session, records: SubjectRecords) -> dict[str, int]:
    """Delete the webhook events of calls and messages; pending deliveries keep ids only."""
    call_ids, message_ids = map(str, records.call_ids), map(str, records.message_ids)
    of_calls = WebhookEvent.data["call_id"].astext.in_(list(call_ids))
    of_messages = WebhookEvent.data["message_id"].astext.in_(list(message_ids))
    event_ids = session.scalars(select(WebhookEvent.id).where(of_calls | of_messages)).all()
    of_events = any_id(Delivery.event_id, event_ids), Delivery.webhook_id.in_(select(Webhook.id))
    deletion = delete(Delivery).where(*of_events, Delivery.status != "pending")
    delivery_count = execute_count(session, deletion)
    for delivery in session.scalars(select(Delivery).where(*of_events).with_for_update()):
        remaining = {
            name: value for name, value in delivery.payload["data"].items() if name in _PAYLOAD_IDS
        }
        delivery.payload, delivery.attempts = {**delivery.payload, "data": remaining}, []
        delivery_count += 1
    session.flush()
    session.execute(delete(WebhookEvent).where(any_id(WebhookEvent.id, event_ids)))
    platform_count = (
        session.scalar(_DELETE_PLATFORM_EVENTS, {"events": [str(value) for value in event_ids]})
        or 0
    )
    return {"payloads": len(event_ids) + delivery_count + platform_count}
