"""Create, list and update messages."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit.errors import NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.kit.text import sanitize
from vca.services import Services
from vca.tenant.messages import email_notifications
from vca.tenant.messages.models import Message
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

_LISTING = Listing(Message, (Message.created_at, Message.id), newest_first=True)
MAX_NUMBER_LENGTH = 40
MAX_NAME_LENGTH = 200
MAX_REASON_LENGTH = 4_000


def create(
    session: Session,
    *,
    services: Services,
    call_id: UUID,
    kind: str,
    caller_number: str | None,
    callback_number: str | None = None,
    name: str | None = None,
    reason: str | None = None,
    recording_id: UUID | None = None,
    simulated: bool = False,
) -> Message:
    """Store what a caller left, and have it mailed if the tenant wants that.

    `kind` is `message` or `voicemail`. Messages of simulated calls are never mailed. The texts come
    from a model or a caller, so they are sanitized and cut to their maximum length.
    """
    message = Message(
        id=uuid4(),
        call_id=call_id,
        kind=kind,
        status="new",
        caller_number=_sanitized(caller_number, MAX_NUMBER_LENGTH),
        callback_number=_sanitized(callback_number, MAX_NUMBER_LENGTH),
        name=_sanitized(name, MAX_NAME_LENGTH),
        reason=_sanitized(reason, MAX_REASON_LENGTH),
        recording_id=recording_id,
        simulated=simulated,
        mail_status="none",
    )
    session.add(message)
    session.flush()
    if not simulated:
        email_notifications.schedule_if_enabled(session, message, services=services)
    data = {"message_id": message.id, "call_id": call_id, "kind": kind}
    events.emit(session, Event("message.taken", data, simulated=simulated))
    return message


def exists_for_call(session: Session, *, call_id: UUID, kind: str) -> bool:
    """Return whether a message of this kind was left in the call."""
    query = select(Message.id).filter_by(call_id=call_id, kind=kind).limit(1)
    return session.scalar(query) is not None


def get(session: Session, *, message_id: UUID, for_update: bool = False) -> Message:
    """Return the message. Raise NotFound."""
    message = session.get(Message, message_id, with_for_update=for_update or None)
    if message is None:
        raise NotFound
    return message


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """Return a page of the tenant's messages, newest first."""
    return _LISTING.page(session, page, filters)


def change(session: Session, *, message_id: UUID, status: str | None = None) -> Message:
    """Update the status if it is given. Raise NotFound."""
    message = get(session, message_id=message_id, for_update=True)
    if status is not None and status != message.status:
        message.status = status
        message.updated_at = session.scalars(select(func.now())).one()
        session.flush()
    return message


def _sanitized(text: str | None, max_length: int) -> str | None:
    return sanitize(text, max_length=max_length).strip() or None if text else None
