"""Find the calls and messages of a person.

An inbound call belongs to its caller, an outbound call to the person who was called. A caller with
a withheld number is identified by the call-back number of a message. A call that was only connected
to the number belongs to the other person: there the number is erased and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, text
from sqlalchemy.orm import Session

from vca.kit import spoken_digits
from vca.tenant.base import any_id
from vca.tenant.calls.core import state_machine
from vca.tenant.calls.core.models import LIVE_CONDITION, Call
from vca.tenant.messages.models import Message

BATCH_SIZE = 200


class Subject(Protocol):
    """A person, identified by a telephone number."""

    @property
    def numbers(self) -> Sequence[str]:
        """All E.164 spellings of the number."""

    def occurs_in(self, text: str) -> bool:
        """Return whether a text contains the number."""


@dataclass(frozen=True)
class SubjectCall:
    """A call of the person."""

    call_id: UUID
    live: bool
    simulated: bool
    provider_type: str
    provider_call_id: str | None


def find_calls(session: Session, subject: Subject, *, until: datetime) -> list[SubjectCall]:
    """Return every call of the person that began by `until`.

    The calls are read page by page in one transaction.
    """
    calls: list[SubjectCall] = []
    belongs_to_subject = _belongs_to_subject(subject, _find_callback_messages(session, subject))
    while page := _calls_page(
        session, belongs_to_subject, until=until, after=calls[-1].call_id if calls else None
    ):
        calls += page
    return calls


def _calls_page(
    session: Session, condition: ColumnElement[bool], *, until: datetime, after: UUID | None
) -> list[SubjectCall]:
    query = select(
        Call.id, Call.status, Call.simulated, Call.provider_type, Call.provider_call_id
    ).where(condition, Call.started_at <= until)
    if after is not None:
        query = query.where(Call.id > after)
    rows = session.execute(query.order_by(Call.id).limit(5_000)).all()
    return [
        SubjectCall(
            id, status not in state_machine.TERMINAL, simulated, provider_type, provider_call_id
        )
        for id, status, simulated, provider_type, provider_call_id in rows
    ]


def find_messages(session: Session, subject: Subject, *, until: datetime) -> Sequence[UUID]:
    """Return the messages with the number that were left by `until`, except those of live calls.

    They include messages with the number in calls of other people.
    """
    asks_for_callback = any_id(Message.id, _find_callback_messages(session, subject))
    names_subject = or_(Message.caller_number.in_(subject.numbers), asks_for_callback)
    is_of_live_call = Message.call_id.in_(select(Call.id).where(text(LIVE_CONDITION)))
    is_over = or_(Message.call_id.is_(None), ~is_of_live_call)
    query = select(Message.id).where(names_subject, is_over, Message.created_at <= until)
    return session.scalars(query.order_by(Message.created_at)).all()


def live_call_ids(session: Session) -> set[UUID]:
    """Return the ids of the tenant's live calls."""
    return set(session.scalars(select(Call.id).where(text(LIVE_CONDITION))))


def _belongs_to_subject(subject: Subject, message_ids: Sequence[UUID]) -> ColumnElement[bool]:
    withheld_call_ids = select(Message.call_id).where(
        any_id(Message.id, message_ids), Message.call_id.is_not(None)
    )
    return or_(
        and_(Call.direction == "inbound", Call.caller_number.in_(subject.numbers)),
        and_(Call.direction == "outbound", Call.called_number.in_(subject.numbers)),
        and_(
            Call.direction == "inbound",
            Call.caller_number.is_(None),
            Call.id.in_(withheld_call_ids),
        ),
    )


def _find_callback_messages(session: Session, subject: Subject) -> list[UUID]:
    """Return the messages whose call-back number is the person's number in any spelling."""
    query = select(Message.id, Message.callback_number).where(
        Message.callback_number.regexp_match(spoken_digits.preselection_pattern())
    )
    return [
        id
        for id, callback_number in session.execute(query)
        if callback_number is not None and subject.occurs_in(callback_number)
    ]


def batches(calls: Sequence[SubjectCall], *, size: int = BATCH_SIZE) -> Iterator[list[SubjectCall]]:
    """Split the calls into batches; each is erased or exported in a transaction of its own."""
    return (list(calls[start : start + size]) for start in range(0, len(calls), size))
