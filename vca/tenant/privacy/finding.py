"""What is one person's: the calls from and to their number, and the messages that name it.

Of an inbound call that is the caller, of an outbound one who was called. Who withheld their number
and left it in a message is known by that. A call in which somebody else was only connected to the
number is the other's: there the number goes, and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, and_, any_, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from vca.tenant.calls import states
from vca.tenant.calls.models import LIVE, Call
from vca.tenant.messages.models import Message
from vca.tenant.privacy.subject import Subject

AT_ONCE = 200


@dataclass(frozen=True)
class Theirs:
    """A call of the person's."""

    call_id: UUID
    live: bool
    simulated: bool
    provider_type: str
    provider_call_id: str | None


def calls(session: Session, subject: Subject, *, until: datetime) -> list[Theirs]:
    """Every call of theirs that began by then, a page at a time within the same transaction."""
    found: list[Theirs] = []
    while page := _page(session, subject, until=until, after=found[-1].call_id if found else None):
        found += page
    return found


def _page(
    session: Session, subject: Subject, *, until: datetime, after: UUID | None
) -> list[Theirs]:
    wanted = select(
        Call.id, Call.status, Call.simulated, Call.provider_type, Call.provider_call_id
    ).where(_theirs(subject), Call.started_at <= until)
    if after is not None:
        wanted = wanted.where(Call.id > after)
    rows = session.execute(wanted.order_by(Call.id).limit(5_000)).all()
    return [
        Theirs(id, status not in states.TERMINAL, simulated, carrier, carriers_id)
        for id, status, simulated, carrier, carriers_id in rows
    ]


def messages(session: Session, subject: Subject, *, until: datetime) -> Sequence[UUID]:
    """The messages that bear the number, in whosever call they were left; one that is over."""
    named = or_(Message.caller_number == subject.number, _left(subject))
    of_live = Message.call_id.in_(select(Call.id).where(text(LIVE)))
    over = or_(Message.call_id.is_(None), ~of_live)
    wanted = select(Message.id).where(named, over, Message.created_at <= until)
    return session.scalars(wanted.order_by(Message.created_at)).all()


def live(session: Session) -> set[UUID]:
    """The tenant's calls that go on."""
    return set(session.scalars(select(Call.id).where(text(LIVE))))


def _theirs(subject: Subject) -> ColumnElement[bool]:
    withheld = select(Message.call_id).where(_left(subject), Message.call_id.is_not(None))
    return or_(
        and_(Call.direction == "inbound", Call.caller_number == subject.number),
        and_(Call.direction == "outbound", Call.called_number == subject.number),
        and_(Call.direction == "inbound", Call.caller_number.is_(None), Call.id.in_(withheld)),
    )


def _left(subject: Subject) -> ColumnElement[bool]:
    """Whether a message says to call back at the number, however it was said."""
    digits = func.ltrim(func.regexp_replace(Message.callback_number, "[^0-9]", "", "g"), "0")
    return digits.in_(subject.spellings)


def one_of(column: Any, ids: Sequence[UUID]) -> ColumnElement[bool]:
    """`column = ANY (ids)`: one statement for any number of them."""
    found: ColumnElement[bool] = column == any_(literal(list(ids), ARRAY(Uuid)))
    return found


def batches(calls: Sequence[Theirs]) -> Iterator[Sequence[Theirs]]:
    """The calls, some at a time: a transaction for each."""
    return (calls[start : start + AT_ONCE] for start in range(0, len(calls), AT_ONCE))
