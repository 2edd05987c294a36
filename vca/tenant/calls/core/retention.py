"""Purge transcripts and carriers' payloads after the tenant's retention period.

The call itself stays, but a simulated call is purged as a whole, after 30 days or the tenant's
shorter period. Two writes of the tenant schedule the jobs: the end of a call, and a change of the
setting. At most one job of each kind waits, for the earliest moment at which something expires.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from vca.jobs import queue
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.calls.core.analysis_state import FORGOTTEN_COLUMNS
from vca.tenant.calls.core.models import Call, Event, Turn
from vca.tenant.messages.models import Message
from vca.tenant.settings import service as settings

PURGE_TRANSCRIPTS = "calls.forget"
PURGE_PAYLOADS = "calls.forget_payloads"
PURGE_SIMULATIONS = "calls.forget_simulated"
SIMULATION_DAYS = 30
_BATCH_SIZE = 500
# Voicemails are not transcripts: a voicemail's audio is a recording with its own retention.
_IS_CALL_MESSAGE = (Message.call_id == Call.id) & (Message.kind == "message")
_IS_SIMULATED = Call.simulated.is_(True)
_HAS_TRANSCRIPT = or_(exists().where(Turn.call_id == Call.id), exists().where(_IS_CALL_MESSAGE))
_HAS_PAYLOADS = or_(
    exists().where(Event.call_id == Call.id, Event.details != func.jsonb_build_object()),
    Call.call_metadata != func.jsonb_build_object(),
)


def schedule_purge(
    session: Session, retention_days: Mapping[str, int], *, ended_at: datetime
) -> None:
    """Schedule the purge for a call that has ended, if the tenant has set a retention period."""
    if (days := retention_days.get("transcripts")) is not None:
        queue.enqueue(
            session,
            PURGE_TRANSCRIPTS,
            run_at=ended_at + timedelta(days=days),
            lock=PURGE_TRANSCRIPTS,
        )
    if (days := retention_days.get("payloads")) is not None:
        run_at = ended_at + timedelta(days=days)
        queue.enqueue(session, PURGE_PAYLOADS, run_at=run_at, lock=PURGE_PAYLOADS)


def schedule_simulation_purge(session: Session, *, ended_at: datetime) -> None:
    """Schedule the purge of simulated calls, for the time when the first of them expires.

    `ended_at` is of the call that ends in the caller's transaction.
    """
    earliest_ended_at = _find_earliest_end(session, _IS_SIMULATED)
    expires_at = min(earliest_ended_at or ended_at, ended_at) + _simulation_period(session)
    queue.enqueue(session, PURGE_SIMULATIONS, run_at=expires_at, lock=PURGE_SIMULATIONS)


def purge_simulations(tenant: TenantRef, *, services: Services, now: datetime) -> int:
    """Delete expired simulated calls with all that they contain; return the number of calls.

    Schedules the next purge.
    """
    with tenant_session(tenant, database=services.database) as session:
        period = _simulation_period(session)
        call_ids = _find_expired_calls(session, _IS_SIMULATED, ended_before=now - period)
        session.execute(delete(Turn).where(Turn.call_id.in_(call_ids)))
        session.execute(delete(Event).where(Event.call_id.in_(call_ids)))
        session.execute(delete(Message).where(Message.call_id.in_(call_ids), Message.simulated))
        session.execute(delete(Call).where(Call.id.in_(call_ids)))
        earliest_ended_at = _find_earliest_end(session, _IS_SIMULATED)
        if earliest_ended_at is not None:
            run_at = max(now, earliest_ended_at + period)
            queue.enqueue(session, PURGE_SIMULATIONS, run_at=run_at, lock=PURGE_SIMULATIONS)
    return len(call_ids)


def _simulation_period(session: Session) -> timedelta:
    """Return how long simulated calls are stored: at most as long as parts of a real call."""
    retention_days = settings.get(session).retention_days
    tenant_periods = (retention_days.get(kind) for kind in ("transcripts", "payloads"))
    return timedelta(days=min([SIMULATION_DAYS, *(days for days in tenant_periods if days)]))


def purge_transcripts(tenant: TenantRef, *, services: Services, now: datetime) -> int:
    """Delete expired calls' turns, messages, summaries and data; return the number of calls.

    Schedules the next purge.
    """
    with tenant_session(tenant, database=services.database) as session:
        days = settings.retention_days(session, "transcripts")
        if days is None:
            return 0
        call_ids = _find_expired_calls(
            session, _HAS_TRANSCRIPT, ended_before=now - timedelta(days=days)
        )
        session.execute(delete(Turn).where(Turn.call_id.in_(call_ids)))
        session.execute(
            delete(Message).where(Message.call_id.in_(call_ids), Message.kind == "message")
        )
        cleared_columns = {"summary": None, "data": None, **FORGOTTEN_COLUMNS}
        session.execute(update(Call).where(Call.id.in_(call_ids)).values(cleared_columns))
        earliest_ended_at = _find_earliest_end(session, _HAS_TRANSCRIPT)
        if earliest_ended_at is not None:
            run_at = max(now, earliest_ended_at + timedelta(days=days))
            queue.enqueue(session, PURGE_TRANSCRIPTS, run_at=run_at, lock=PURGE_TRANSCRIPTS)
    return len(call_ids)


def purge_payloads(tenant: TenantRef, *, services: Services, now: datetime) -> int:
    """Empty the event details and metadata of expired calls; return the number of calls.

    Schedules the next purge.
    """
    with tenant_session(tenant, database=services.database) as session:
        days = settings.retention_days(session, "payloads")
        if days is None:
            return 0
        call_ids = _find_expired_calls(
            session, _HAS_PAYLOADS, ended_before=now - timedelta(days=days)
        )
        session.execute(update(Event).where(Event.call_id.in_(call_ids)).values(details={}))
        session.execute(update(Call).where(Call.id.in_(call_ids)).values(call_metadata={}))
        earliest_ended_at = _find_earliest_end(session, _HAS_PAYLOADS)
        if earliest_ended_at is not None:
            run_at = max(now, earliest_ended_at + timedelta(days=days))
            queue.enqueue(session, PURGE_PAYLOADS, run_at=run_at, lock=PURGE_PAYLOADS)
    return len(call_ids)


def _find_expired_calls(
    session: Session, has_data: ColumnElement[bool], *, ended_before: datetime
) -> Sequence[UUID]:
    return session.scalars(
        select(Call.id).where(Call.ended_at <= ended_before, has_data).limit(_BATCH_SIZE)
    ).all()


def _find_earliest_end(session: Session, has_data: ColumnElement[bool]) -> datetime | None:
    return session.scalar(select(func.min(Call.ended_at)).where(has_data))
