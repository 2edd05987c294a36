"""Forget what was said and told once its time has come; that there was a call stays on record.

Ordered by the tenant's own writes: the end of a call, and a change of the setting. One order of a
kind waits at most, for the earliest moment at which something is due.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from vca.kit import jobs
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.calls.models import Call, Event, Turn
from vca.tenant.messages.models import Message
from vca.tenant.settings import service as settings

FORGET = "calls.forget"
FORGET_PAYLOADS = "calls.forget_payloads"
_AT_ONCE = 500
# A voicemail has no words on record: its audio is a recording.
_NOTED = (Message.call_id == Call.id) & (Message.kind == "message")
_SAID = or_(exists().where(Turn.call_id == Call.id), exists().where(_NOTED))
_TOLD = or_(
    exists().where(Event.call_id == Call.id, Event.details != func.jsonb_build_object()),
    Call.call_metadata != func.jsonb_build_object(),
)


def order(session: Session, *, ended_at: datetime) -> None:
    """A call has ended: have it forgotten in time, if the tenant has set one."""
    kept = settings.get(session).retention_days
    if (days := kept.get("transcripts")) is not None:
        jobs.enqueue(session, FORGET, run_at=ended_at + timedelta(days=days), lock=FORGET)
    if (days := kept.get("payloads")) is not None:
        run_at = ended_at + timedelta(days=days)
        jobs.enqueue(session, FORGET_PAYLOADS, run_at=run_at, lock=FORGET_PAYLOADS)


def forget(tenant: TenantRef, *, now: datetime) -> int:
    """Delete the turns of calls whose time has come, and what was noted of them; how many calls.

    The next ones are ordered.
    """
    with enter(tenant) as session:
        days = settings.retention_days(session, "transcripts")
        if days is None:
            return 0
        due = _due(session, _SAID, until=now - timedelta(days=days))
        session.execute(delete(Turn).where(Turn.call_id.in_(due)))
        session.execute(delete(Message).where(Message.call_id.in_(due), Message.kind == "message"))
        forgotten = {"summary": None, "data": None}
        session.execute(update(Call).where(Call.id.in_(due)).values(forgotten))
        earliest = _earliest(session, _SAID)
        if earliest is not None:
            run_at = max(now, earliest + timedelta(days=days))
            jobs.enqueue(session, FORGET, run_at=run_at, lock=FORGET)
    return len(due)


def forget_payloads(tenant: TenantRef, *, now: datetime) -> int:
    """Empty what carriers told of calls whose time has come, and their metadata; how many calls.

    The next ones are ordered.
    """
    with enter(tenant) as session:
        days = settings.retention_days(session, "payloads")
        if days is None:
            return 0
        due = _due(session, _TOLD, until=now - timedelta(days=days))
        session.execute(update(Event).where(Event.call_id.in_(due)).values(details={}))
        session.execute(update(Call).where(Call.id.in_(due)).values(call_metadata={}))
        earliest = _earliest(session, _TOLD)
        if earliest is not None:
            run_at = max(now, earliest + timedelta(days=days))
            jobs.enqueue(session, FORGET_PAYLOADS, run_at=run_at, lock=FORGET_PAYLOADS)
    return len(due)


def _due(session: Session, kept: ColumnElement[bool], *, until: datetime) -> Sequence[UUID]:
    return session.scalars(
        select(Call.id).where(Call.ended_at <= until, kept).limit(_AT_ONCE)
    ).all()


def _earliest(session: Session, kept: ColumnElement[bool]) -> datetime | None:
    return session.scalar(select(func.min(Call.ended_at)).where(kept))
