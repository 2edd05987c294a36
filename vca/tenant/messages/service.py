"""Take messages, list them, and note that they were dealt with."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vca.kit.errors import NotFound
from vca.kit.paging import Listing, Page, PageRequest
from vca.kit.text import clean
from vca.tenant.messages import mailing
from vca.tenant.messages.models import Message
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

_LISTING = Listing(Message, (Message.created_at, Message.id), newest_first=True)
LONGEST_NUMBER = 40
LONGEST_NAME = 200
LONGEST_REASON = 4_000


def take(
    session: Session,
    *,
    call_id: UUID,
    kind: str,
    caller_number: str | None,
    callback_number: str | None = None,
    name: str | None = None,
    reason: str | None = None,
    recording_id: UUID | None = None,
    simulated: bool = False,
) -> Message:
    """Store what a caller left, `message` or `voicemail`, and have it mailed if the tenant asks so.

    A message of a simulated call is never mailed.
    Texts are a model's or a caller's: what cannot be kept is left out, what is too long is cut.
    """
    message = Message(
        id=uuid4(),
        call_id=call_id,
        kind=kind,
        status="new",
        caller_number=_plain(caller_number, LONGEST_NUMBER),
        callback_number=_plain(callback_number, LONGEST_NUMBER),
        name=_plain(name, LONGEST_NAME),
        reason=_plain(reason, LONGEST_REASON),
        recording_id=recording_id,
        simulated=simulated,
    )
    session.add(message)
    session.flush()
    if not simulated:
        mailing.order_if_wanted(session, message_id=message.id)
    data = {"message_id": message.id, "call_id": call_id, "kind": kind}
    events.tell(session, Event("message.taken", data, simulated=simulated))
    return message


def is_kept(session: Session, *, call_id: UUID, kind: str) -> bool:
    """Whether a message of this kind was left in the call."""
    left = select(Message.id).filter_by(call_id=call_id, kind=kind).limit(1)
    return session.scalar(left) is not None


def get(session: Session, *, message_id: UUID, for_update: bool = False) -> Message:
    """The message; raises NotFound."""
    message = session.get(Message, message_id, with_for_update=for_update or None)
    if message is None:
        raise NotFound
    return message


def list_page(session: Session, *, page: PageRequest, **filters: Any) -> Page:
    """The tenant's messages, newest first."""
    return _LISTING.page(session, page, filters)


def change(session: Session, *, message_id: UUID, status: str | None = None) -> Message:
    """Change what is given. Raises NotFound."""
    message = get(session, message_id=message_id, for_update=True)
    if status is not None and status != message.status:
        message.status = status
        message.updated_at = session.scalars(select(func.now())).one()
        session.flush()
    return message


def _plain(text: str | None, longest: int) -> str | None:
    return clean(text, longest=longest).strip() or None if text else None
