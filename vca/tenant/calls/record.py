"""The call's rows: find what answering needs, make them, write down what happened.

Plain table statements, not the unit of work: a call rings while somebody waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, Table, bindparam, insert, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.orm import Session

from vca.kit import json, metrics
from vca.kit.errors import NotFound
from vca.telephony.types import CallEvent
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion
from vca.tenant.calls import latency, states
from vca.tenant.calls.models import Call, Event, Turn
from vca.tenant.calls.states import State
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings.models import Settings
from vca.tenant.settings.service import DEFAULT_SENTENCES

_calls: Table = Call.__table__  # type: ignore[assignment] # typed as FromClause
_events: Table = Event.__table__  # type: ignore[assignment]
_turns: Table = Turn.__table__  # type: ignore[assignment]

_ANSWERING = (
    select(
        Settings.sentences,
        Settings.time_zone,
        Settings.hours.label("tenant_hours"),
        PhoneNumber.id.label("phone_number_id"),
        PhoneNumber.is_active,
        PhoneNumber.mode,
        PhoneNumber.forward_to,
        PhoneNumber.fallback_number,
        PhoneNumber.hours.label("number_hours"),
        PhoneNumber.ai_profile_id.label("named_profile_id"),
        AiProfile.id.label("ai_profile_id"),
        AiProfile.version,
        AiProfile.name,
        AiProfile.role,
        AiProfile.system_prompt,
        AiProfile.greeting,
        AiProfile.language,
        AiProfile.voice,
        AiProfile.silence_seconds,
    )
    .select_from(Settings)
    .outerjoin(PhoneNumber, PhoneNumber.id == bindparam("phone_number_id"))
    .outerjoin(
        AiProfile,
        or_(
            AiProfile.id == PhoneNumber.ai_profile_id,
            PhoneNumber.ai_profile_id.is_(None) & AiProfile.is_default,
        ),
    )
)
# A call, its first events and the agent's first words in one statement, and so in one round trip.
_RING = """
WITH ringing AS (
    INSERT INTO calls (
        id, tenant_id, phone_number_id, ai_profile_id, ai_profile_version, direction, status,
        end_reason, end_detail, caller_number, caller_id, called_number, provider_type,
        provider_call_id, simulated, started_at, answered_at, ended_at, route,
        call_metadata
    ) VALUES (
        %(id)s, current_setting('vca.tenant_id')::uuid, %(phone_number_id)s, %(ai_profile_id)s,
        %(ai_profile_version)s, 'inbound', %(status)s, %(end_reason)s, %(end_detail)s,
        %(caller_number)s, %(caller_id)s, %(called_number)s, %(provider_type)s,
        %(provider_call_id)s, %(simulated)s, %(started_at)s, %(answered_at)s, %(ended_at)s,
        %(route)s, '{}'
    )
    ON CONFLICT (provider_type, provider_call_id) DO NOTHING
    RETURNING id, tenant_id
), happened AS (
    INSERT INTO call_events (
        id, tenant_id, call_id, event_type, event_key, timestamp, position, details
    )
    SELECT e.id, r.tenant_id, r.id, e.event_type, e.event_key, e.timestamp, e.position, e.details
    FROM ringing r, jsonb_to_recordset(%(events)s) AS e (
        id uuid, event_type text, event_key text, "timestamp" timestamptz, "position" integer,
        details jsonb
    )
), said AS (
    INSERT INTO turns (call_id, sequence, tenant_id, speaker, text, started_at, latency_ms)
    SELECT r.id, 1, r.tenant_id, 'agent', %(greeting)s, %(started_at)s, '{}'
    FROM ringing r WHERE %(greeting)s <> ''
)
SELECT id FROM ringing
"""
_NEW_EVENT = insert_or(_events).on_conflict_do_nothing(index_elements=["call_id", "event_key"])
_NEW_TURN = insert(_turns)
_TALK = (
    select(
        Call.id,
        Call.status,
        Call.caller_number,
        Call.called_number,
        Call.answered_at,
        Call.ai_profile_id,
        AiProfileVersion.profile,
        Settings.sentences,
        Settings.time_zone,
    )
    .select_from(Call)
    .join(Settings, true())
    .outerjoin(
        AiProfileVersion,
        (AiProfileVersion.ai_profile_id == Call.ai_profile_id)
        & (AiProfileVersion.version == Call.ai_profile_version),
    )
    .where(Call.id == bindparam("call_id"))
    .with_for_update(of=Call)
)


@dataclass(frozen=True)
class NewCall:
    """A call that is about to be recorded."""

    phone_number_id: UUID | None
    ai_profile_id: UUID | None
    ai_profile_version: int | None
    caller_number: str | None
    caller_id: str
    called_number: str
    provider_type: str
    provider_call_id: str
    simulated: bool
    route: Mapping[str, Any]


def answering(session: Session, *, phone_number_id: UUID | None) -> Row[Any]:
    """All that answering a number needs, in one read: the number, its profile, the sentences."""
    found = session.connection().execute(_ANSWERING, {"phone_number_id": phone_number_id})
    return found.one()


def sentence(sentences: Mapping[str, str], name: str) -> str:
    """A tenant's sentence, or the default one."""
    return sentences.get(name) or DEFAULT_SENTENCES[name]


def insert_call(
    session: Session, call: NewCall, events: Sequence[CallEvent], *, greeting: str
) -> UUID | None:
    """Record a call with its first events and words; None when this carrier's call is known."""
    call_id = uuid4()
    state = states.of(events)
    row = {
        **vars(call),
        **vars(state),
        "id": call_id.hex,
        "phone_number_id": _hex(call.phone_number_id),
        "ai_profile_id": _hex(call.ai_profile_id),
        "route": _text(call.route),
        "events": _text([_event_row(call_id, event) for event in events]),
        "greeting": greeting,
    }
    made = session.connection().exec_driver_sql(_RING, row).one_or_none()
    return call_id if made is not None else None


def insert_turn(
    session: Session,
    call_id: UUID,
    *,
    sequence: int,
    speaker: str,
    text: str,
    at: datetime,
    latency_ms: Mapping[str, int] | None = None,
) -> None:
    """Record what was said; the caller holds the call's row."""
    row = {
        "call_id": call_id,
        "sequence": sequence,
        "speaker": speaker,
        "text": text,
        "started_at": at,
        "latency_ms": dict(latency_ms or {}),
    }
    session.connection().execute(_NEW_TURN, row)


def talk(session: Session, call_id: UUID) -> Row[Any]:
    """What the next turn needs, with the call's row held; raises NotFound."""
    row = session.connection().execute(_TALK, {"call_id": call_id}).one_or_none()
    if row is None:
        raise NotFound
    return row


def turns(session: Session, call_id: UUID) -> Sequence[Turn]:
    """What was said so far, in order."""
    return session.scalars(
        select(Turn).where(Turn.call_id == call_id).order_by(Turn.sequence)
    ).all()


def find(session: Session, *, provider_type: str, provider_call_id: str) -> UUID | None:
    """The call that a carrier knows by its own id."""
    return session.scalar(
        select(Call.id).where(
            Call.provider_type == provider_type, Call.provider_call_id == provider_call_id
        )
    )


def happened(session: Session, call_id: UUID, event: CallEvent) -> State:
    """Record an event and what follows from it for the call; raises NotFound."""
    call = session.get(Call, call_id, with_for_update=True, populate_existing=True)
    if call is None:
        raise NotFound
    before, state = call.state, states.after(call.state, event)
    session.connection().execute(_NEW_EVENT, _event_row(call_id, event))
    if state != before:
        changes: dict[str, Any] = dict(vars(state))
        if call.live and state.status in states.TERMINAL:
            known = {"carrier": call.provider_type, "simulated": call.simulated}
            metrics.CALLS_ENDED.inc(end_reason=state.end_reason, **known)
            changes["latency"] = latency.summary(
                turn.latency_ms for turn in turns(session, call_id)
            )
        session.execute(update(_calls).where(_calls.c.id == call_id).values(changes))
    return state


def _hex(value: UUID | None) -> str | None:
    return value.hex if value is not None else None


def _text(value: Any) -> str:
    return json.dumps(value).decode()


def _event_row(call_id: UUID, event: CallEvent) -> dict[str, Any]:
    details = dict(event.details)
    if event.end_reason:
        details["end_reason"] = event.end_reason
    if event.end_detail:
        details["end_detail"] = event.end_detail
    return {
        "id": uuid4(),
        "call_id": call_id,
        "event_type": event.event_type,
        "event_key": event.key,
        "timestamp": event.timestamp,
        "position": states.RANKS[states.REACHES[event.event_type]],
        "details": details,
    }
