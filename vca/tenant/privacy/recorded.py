"""Take what is personal out of the record of calls; that there was a call stays on record."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from vca.kit import clock, json, storage
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.calls.models import Call, Event, OutboundLeg, Turn
from vca.tenant.idempotency.models import IdempotencyKey
from vca.tenant.messages.models import Message
from vca.tenant.privacy.finding import one_of
from vca.tenant.privacy.subject import ERASED
from vca.tenant.recordings import audio, fetching, keeping
from vca.tenant.recordings.models import Recording
from vca.tenant.webhooks.models import Delivery, ToldEvent, Webhook

Counts = dict[str, int]
# What a delivery that is on its way still tells: whoever may know more asks the API.
_IDS = ("tenant_id", "simulated", "call_id", "message_id", "recording_id")
# What the API shows of a call that was erased, in the place of what it showed.
_SHOWN: dict[str, Any] = {
    "caller_number": None,
    "called_number": ERASED,
    "metadata": {},
    "summary": None,
    "data": None,
    "transfer": None,
}
_FORGET_TOLD = text("SELECT public.forget_told(CAST(:events AS uuid[]))")


def erase_audio(tenant: TenantRef, call_ids: Sequence[UUID]) -> int:
    """Delete the audio of calls, and have their carriers delete theirs; how many recordings.

    A recording that is being fetched at this moment is deleted by its own job. Raises StorageError;
    done again, it goes on where it stopped.
    """
    of_calls = one_of(Recording.call_id, call_ids)
    with enter(tenant) as session:
        rows = session.scalars(select(Recording).where(of_calls).with_for_update()).all()
        first = sum(_let_go(session, row) for row in rows)
    for row in rows:
        for key in _places(tenant, row):
            storage.current().delete(key)
    with enter(tenant) as session:
        session.execute(update(Recording).where(of_calls).values(storage_key=None, sha256=None))
    return first


def _let_go(session: Session, row: Recording) -> bool:
    """Say that there is no audio any more, and ask the carrier for the same; once."""
    if row.status == "deleted" and row.storage_key is None:
        return False
    known, stored, now = row.status != "deleted", row.status == "stored", clock.now()
    if row.carrier_copy == "kept":
        fetching.order(session, recording_id=row.id, stage="deleted")
    row.status, row.updated_at = "deleted", now
    if stored:
        session.flush()
        keeping.end(session, row, now=now)
    return known


def _places(tenant: TenantRef, row: Recording) -> set[str]:
    """Everywhere that the audio may be: also where a job that was killed has left it."""
    possible = audio.keys_of(tenant, recording_id=row.id, created_at=row.created_at)
    keys = {key for _, key in possible}
    if row.storage_key is not None and audio.is_own(tenant, row.storage_key):
        keys.add(row.storage_key)
    return keys


def erase_calls(session: Session, call_ids: Sequence[UUID]) -> Counts:
    """Empty these calls: what was said, left, noted and passed on. Last, their numbers."""
    counts = {
        "turns": _count(session, delete(Turn).where(one_of(Turn.call_id, call_ids))),
        "messages": _count(session, delete(Message).where(one_of(Message.call_id, call_ids))),
        "events": _count(
            session, update(Event).where(one_of(Event.call_id, call_ids)).values(details={})
        ),
    }
    whole = one_of(Call.id, call_ids)
    emptied: dict[str, Any] = {"call_metadata": {}, "summary": None, "data": None, "transfer": None}
    legs = one_of(OutboundLeg.call_id, call_ids), OutboundLeg.kind == "call"
    session.execute(update(OutboundLeg).where(*legs).values(number=ERASED))
    for direction, column in (("inbound", "caller_number"), ("outbound", "called_number")):
        gone = {**emptied, column: _SHOWN[column]}
        session.execute(update(Call).where(whole, Call.direction == direction).values(gone))
    return {**counts, "calls": len(call_ids)}


def erase_messages(session: Session, message_ids: Sequence[UUID]) -> Counts:
    """Delete messages that bear the number, left in calls of others too."""
    gone = delete(Message).where(one_of(Message.id, message_ids))
    return {"messages": _count(session, gone)}


def erase_told(
    session: Session, call_ids: Sequence[UUID], message_ids: Sequence[UUID] = ()
) -> Counts:
    """Forget what was told of calls and messages; what is on its way goes on with ids alone."""
    of_calls = ToldEvent.data["call_id"].astext.in_([str(it) for it in call_ids])
    of_messages = ToldEvent.data["message_id"].astext.in_([str(it) for it in message_ids])
    told = session.scalars(select(ToldEvent.id).where(of_calls | of_messages)).all()
    events = one_of(Delivery.event_id, told), Delivery.webhook_id.in_(select(Webhook.id))
    settled = delete(Delivery).where(*events, Delivery.status != "pending")
    gone = _count(session, settled)
    for waiting in session.scalars(select(Delivery).where(*events).with_for_update()):
        ids = {name: it for name, it in waiting.payload["data"].items() if name in _IDS}
        waiting.payload, waiting.attempts = {**waiting.payload, "data": ids}, []
        gone += 1
    session.flush()
    session.execute(delete(ToldEvent).where(one_of(ToldEvent.id, told)))
    operators = session.scalar(_FORGET_TOLD, {"events": [str(it) for it in told]}) or 0
    return {"payloads": len(told) + gone + operators}


def erase_answers(session: Session, call_ids: Sequence[UUID]) -> Counts:
    """Empty what requests that made calls were answered, as the API now shows those calls.

    The keys stay: a request that is repeated dials nobody again.
    """
    wanted = {str(it) for it in call_ids}
    kept = select(IdempotencyKey).where(IdempotencyKey.answer.is_not(None)).with_for_update()
    emptied = 0
    for row in session.scalars(kept):
        answer = _document(row.answer or "")
        if answer.get("id") in wanted or answer.get("call_id") in wanted:
            shown = {name: it for name, it in _SHOWN.items() if name in answer}
            row.answer = json.dumps({**answer, **shown}).decode()
            emptied += 1
    session.flush()
    return {"answers": emptied}


def _document(answer: str) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(session: Session, statement: Any) -> int:
    done: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(done.rowcount)
