"""Remove personal data from calls; the fact that there was a call stays on record."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from vca.kit import clock, json
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core.analysis_state import FORGOTTEN_COLUMNS
from vca.tenant.calls.core.models import Call, Event, OutboundLeg, Turn
from vca.tenant.idempotency.models import IdempotencyKey
from vca.tenant.messages.models import Message
from vca.tenant.privacy.data_subject import ERASED
from vca.tenant.privacy.subject_records import any_id
from vca.tenant.recordings import carrier_fetch, media, storage_metering
from vca.tenant.recordings.models import Recording
from vca.tenant.webhooks.models import Delivery, Webhook, WebhookEvent

RemovedCounts = dict[str, int]
# The fields that pending webhook deliveries keep. Receivers can read the rest through the API.
_PAYLOAD_IDS = ("tenant_id", "simulated", "call_id", "message_id", "recording_id")
# The values that replace the personal fields of an erased call in stored responses.
_ERASED_FIELDS: dict[str, Any] = {
    "caller_number": None,
    "called_number": ERASED,
    "metadata": {},
    "summary": None,
    "data": None,
    "transfer": None,
}
_DELETE_PLATFORM_EVENTS = text("SELECT public.forget_told(CAST(:events AS uuid[]))")


def erase_audio(tenant: TenantRef, call_ids: Sequence[UUID], *, services: Services) -> int:
    """Delete the audio of calls here and at their carriers; return the number of recordings.

    A recording that is being fetched at this moment is deleted by its own job. Raise StorageError;
    a repeated call continues where this one stopped.
    """
    of_calls = any_id(Recording.call_id, call_ids)
    with tenant_session(tenant, database=services.database) as session:
        rows = session.scalars(select(Recording).where(of_calls).with_for_update()).all()
        newly_deleted = sum(_mark_audio_deleted(session, row) for row in rows)
    for row in rows:
        for key in _possible_keys(tenant, row):
            services.store.delete(key)
    with tenant_session(tenant, database=services.database) as session:
        session.execute(update(Recording).where(of_calls).values(storage_key=None, sha256=None))
    return newly_deleted


def _mark_audio_deleted(session: Session, row: Recording) -> bool:
    """Mark the recording as deleted and schedule its deletion at the carrier.

    Return whether it was not deleted before.
    """
    if row.status == "deleted" and row.storage_key is None:
        return False
    was_present, was_stored, now = row.status != "deleted", row.status == "stored", clock.now()
    if row.carrier_copy == "kept":
        carrier_fetch.schedule_fetch(session, recording_id=row.id, stage="deleted")
    row.status, row.updated_at = "deleted", now
    if was_stored:
        session.flush()
        storage_metering.stop_metering(session, row, now=now)
    return was_present


def _possible_keys(tenant: TenantRef, row: Recording) -> set[str]:
    """Return every storage key that may have the audio, also keys left by a killed job."""
    candidates = media.possible_keys(tenant, recording_id=row.id, created_at=row.created_at)
    keys = {key for _, key in candidates}
    if row.storage_key is not None and media.belongs_to_tenant(tenant, row.storage_key):
        keys.add(row.storage_key)
    return keys


def erase_calls(session: Session, call_ids: Sequence[UUID]) -> RemovedCounts:
    """Erase turns, messages, event details and other content of the calls; their numbers last."""
    counts = {
        "turns": _execute_count(session, delete(Turn).where(any_id(Turn.call_id, call_ids))),
        "messages": _execute_count(
            session, delete(Message).where(any_id(Message.call_id, call_ids))
        ),
        "events": _execute_count(
            session, update(Event).where(any_id(Event.call_id, call_ids)).values(details={})
        ),
    }
    is_of_calls = any_id(Call.id, call_ids)
    empty_fields: dict[str, Any] = {
        "call_metadata": {},
        "summary": None,
        "data": None,
        "transfer": None,
        **FORGOTTEN_COLUMNS,
    }
    of_dialled_legs = any_id(OutboundLeg.call_id, call_ids), OutboundLeg.kind == "call"
    session.execute(update(OutboundLeg).where(*of_dialled_legs).values(number=ERASED))
    for direction, column in (("inbound", "caller_number"), ("outbound", "called_number")):
        changes = {**empty_fields, column: _ERASED_FIELDS[column]}
        session.execute(
            update(Call).where(is_of_calls, Call.direction == direction).values(changes)
        )
    return {**counts, "calls": len(call_ids)}


def erase_messages(session: Session, message_ids: Sequence[UUID]) -> RemovedCounts:
    """Delete messages that contain the number, also in calls of other people."""
    deletion = delete(Message).where(any_id(Message.id, message_ids))
    return {"messages": _execute_count(session, deletion)}


def erase_events(
    session: Session, call_ids: Sequence[UUID], message_ids: Sequence[UUID] = ()
) -> RemovedCounts:
    """Delete the webhook events of calls and messages; pending deliveries keep ids only."""
    of_calls = WebhookEvent.data["call_id"].astext.in_([str(value) for value in call_ids])
    of_messages = WebhookEvent.data["message_id"].astext.in_([str(value) for value in message_ids])
    event_ids = session.scalars(select(WebhookEvent.id).where(of_calls | of_messages)).all()
    of_events = any_id(Delivery.event_id, event_ids), Delivery.webhook_id.in_(select(Webhook.id))
    deletion = delete(Delivery).where(*of_events, Delivery.status != "pending")
    delivery_count = _execute_count(session, deletion)
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


def erase_stored_responses(session: Session, call_ids: Sequence[UUID]) -> RemovedCounts:
    """Erase personal fields of these calls in the responses stored under Idempotency-Keys.

    The keys stay, so that a repeated request does not dial again.
    """
    call_id_texts = {str(value) for value in call_ids}
    query = select(IdempotencyKey).where(IdempotencyKey.answer.is_not(None)).with_for_update()
    emptied_count = 0
    for row in session.scalars(query):
        document = _parse_document(row.answer or "")
        if document.get("id") in call_id_texts or document.get("call_id") in call_id_texts:
            erased_fields = {
                name: value for name, value in _ERASED_FIELDS.items() if name in document
            }
            row.answer = json.dumps({**document, **erased_fields}).decode()
            emptied_count += 1
    session.flush()
    return {"answers": emptied_count}


def _parse_document(answer: str) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _execute_count(session: Session, statement: Any) -> int:
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)
