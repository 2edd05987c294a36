"""The call's rows: make them, write down what happened, and tell of it.

Plain table statements, not the unit of work: a call rings while somebody waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    Executable,
    Row,
    Table,
    bindparam,
    func,
    insert,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.orm import Session

from vca.conversation import transcript
from vca.conversation.types import Tokens
from vca.kit import deeds, disclosure, json
from vca.kit.errors import NotFound
from vca.telephony.types import CallEvent, CarrierRef
from vca.tenant.ai_profiles.models import AiProfileVersion
from vca.tenant.calls import ending, latency, metering, route, states, telling
from vca.tenant.calls.models import LIVE, Call, Event, Line, Turn
from vca.tenant.calls.refs import carrier_of
from vca.tenant.calls.route import Route
from vca.tenant.calls.states import State
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings.models import Settings
from vca.tenant.settings.service import DEFAULT_SENTENCES
from vca.tenant.usage.cap import Live
from vca.tenant.webhooks import events as webhooks

_calls: Table = Call.__table__  # type: ignore[assignment] # typed as FromClause
_events: Table = Event.__table__  # type: ignore[assignment]
_turns: Table = Turn.__table__  # type: ignore[assignment]

_LIVE = select(func.count(), func.coalesce(func.sum(Call.reserved), 0)).where(
    text(LIVE), Call.simulated.is_(False)
)
# A call, its first events and the agent's first words in one statement, and so in one round trip.
_RING = """
WITH ringing AS (
    INSERT INTO calls (
        id, tenant_id, phone_number_id, ai_profile_id, ai_profile_version, direction, status,
        end_reason, end_detail, caller_number, caller_id, called_number, provider_type,
        provider_call_id, telephony_account_id, simulated, started_at, answered_at, ended_at,
        route, call_metadata, recording_status, reserved
    ) VALUES (
        %(id)s, current_setting('vca.tenant_id')::uuid, %(phone_number_id)s, %(ai_profile_id)s,
        %(ai_profile_version)s, %(direction)s, %(status)s, %(end_reason)s, %(end_detail)s,
        %(caller_number)s, %(caller_id)s, %(called_number)s, %(provider_type)s,
        %(provider_call_id)s, %(telephony_account_id)s, %(simulated)s, %(started_at)s,
        %(answered_at)s, %(ended_at)s, %(route)s, %(call_metadata)s, %(recording_status)s,
        %(reserved)s
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
_MOVE = """
UPDATE calls
SET status = %(status)s, started_at = %(started_at)s, answered_at = %(answered_at)s,
    ended_at = %(ended_at)s, end_reason = %(end_reason)s, end_detail = %(end_detail)s,
    latency = coalesce(%(latency)s, latency)
WHERE id = %(id)s
"""
_NEW_EVENT = insert_or(_events).on_conflict_do_nothing(index_elements=["call_id", "event_key"])
_NEW_TURN = insert(_turns)
_LINES = (
    select(*(_turns.c[each.name] for each in fields(Line)))
    .where(_turns.c.call_id == bindparam("call_id"), _turns.c.sequence > bindparam("after"))
    .order_by(_turns.c.sequence)
)
_SPEND = (
    update(_calls)
    .where(_calls.c.id == bindparam("call_id"))
    .values(
        tokens=_calls.c.tokens + bindparam("spent"),
        output_tokens=_calls.c.output_tokens + bindparam("spent_on_output"),
    )
    .returning(_calls)
)
_TALK = (
    select(
        Call.id,
        Call.status,
        Call.started_at,
        Call.caller_number,
        Call.called_number,
        Call.started_at,
        Call.answered_at,
        Call.ai_profile_id,
        Call.direction,
        Call.simulated,
        Call.provider_type,
        Call.provider_call_id,
        Call.telephony_account_id,
        Call.recording_status,
        Call.transfer,
        Call.tokens,
        Call.call_metadata,
        AiProfileVersion.profile,
        PhoneNumber.fallback_number,
        Settings.sentences,
        Settings.time_zone,
        Settings.variables,
    )
    .select_from(Call)
    .join(Settings, true())
    .outerjoin(PhoneNumber, PhoneNumber.id == Call.phone_number_id)
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
    telephony_account_id: UUID | None = None
    recording_status: str | None = None
    reserved: int = 0
    direction: str = "inbound"
    call_metadata: Mapping[str, Any] = field(default_factory=dict)


def live(session: Session) -> Live:
    """The real calls that have no end yet: each holds one of the tenant's lines."""
    calls, reserved = session.connection().execute(_LIVE).one()
    return Live(calls, int(reserved))


def lines_in_use(session: Session) -> int:
    """How many of the tenant's lines are in use."""
    return live(session).calls


def tokens_since(session: Session, *, hours: int) -> int:
    """What the tenant's real calls of the last hours have cost, in the model's tokens."""
    began = Call.started_at > func.now() - timedelta(hours=hours)
    spent = select(func.coalesce(func.sum(Call.tokens), 0)).where(began, Call.simulated.is_(False))
    return int(session.scalar(spent) or 0)


def route_of(session: Session, call_id: UUID) -> Route:
    """How the call was answered; raises NotFound."""
    kept = session.scalar(select(Call.route).where(Call.id == call_id))
    if kept is None:
        raise NotFound
    return route.of_dict(kept)


def sentence(sentences: Mapping[str, str], name: str) -> str:
    """A tenant's sentence, or the default one."""
    return sentences.get(name) or DEFAULT_SENTENCES[name]


def insert_call(
    session: Session,
    call_id: UUID,
    call: NewCall,
    events: Sequence[CallEvent],
    state: State,
    *,
    greeting: str,
) -> bool:
    """Record a call with its first events and words, and tell of it, in one round trip.

    False when this carrier's call is known: then the caller must roll back what was told.
    """
    row = {
        **vars(call),
        **vars(state),
        "id": call_id.hex,
        "phone_number_id": _hex(call.phone_number_id),
        "ai_profile_id": _hex(call.ai_profile_id),
        "telephony_account_id": _hex(call.telephony_account_id),
        "route": _text(call.route),
        "call_metadata": _text(call.call_metadata),
        "events": _text([_event_row(call_id, event) for event in events]),
        "greeting": greeting,
    }
    deeds.note(session, "call", call_id)
    begun = telling.moved(call_id, call, None, state)
    return webhooks.tell_with(session, _RING, row, happened=begun).one_or_none() is not None


def insert_turn(
    session: Session,
    call_id: UUID,
    *,
    sequence: int,
    speaker: str,
    text: str,
    at: datetime,
    latency_ms: Mapping[str, int] | None = None,
    answers: int | None = None,
    actions: Sequence[Mapping[str, Any]] = (),
    tokens: Mapping[str, Any] | None = None,
) -> None:
    """Record what was said, and what it cost; the caller holds the call's row."""
    row = {
        "call_id": call_id,
        "sequence": sequence,
        "speaker": speaker,
        "text": text,
        "started_at": at,
        "latency_ms": dict(latency_ms or {}),
        "answers": answers,
        "actions": list(actions),
        "tokens": dict(tokens or {}),
    }
    deeds.note(session, "call", call_id)
    session.connection().execute(_NEW_TURN, row)


def talk(session: Session, call_id: UUID) -> Row[Any]:
    """What the next turn needs, with the call's row held; raises NotFound."""
    statement: Executable = _TALK
    row = session.connection().execute(statement, {"call_id": call_id}).one_or_none()
    if row is None:
        raise NotFound
    return row


def lines(session: Session, call_id: UUID, *, after: int = 0) -> Sequence[Line]:
    """What was said so far, in order and numbered from 1; that which came `after` so many turns."""
    said = session.connection().execute(_LINES, {"call_id": call_id, "after": after})
    return [Line(*line) for line in said]


def turns(session: Session, call_id: UUID) -> Sequence[Turn]:
    """All that is on record of what was said, in order."""
    return session.scalars(
        select(Turn).where(Turn.call_id == call_id).order_by(Turn.sequence)
    ).all()


def find(
    session: Session, *, provider_type: str, provider_call_id: str
) -> tuple[UUID, CarrierRef] | None:
    """The call that a carrier knows by its own id, and who holds it."""
    known = select(Call.id, Call.provider_type, Call.telephony_account_id).where(
        Call.provider_type == provider_type, Call.provider_call_id == provider_call_id
    )
    row = session.execute(known).one_or_none()
    return (row.id, carrier_of(row)) if row else None


def held_by(session: Session, call_id: UUID) -> CarrierRef | None:
    """Who holds a call; None: there is no such call."""
    known = select(Call.provider_type, Call.telephony_account_id).where(Call.id == call_id)
    row = session.execute(known).one_or_none()
    return carrier_of(row) if row else None


def note(session: Session, call_id: UUID, **changes: Any) -> None:
    """Set columns of a call that no event changes; the caller holds its row."""
    deeds.note(session, "call", call_id)
    session.execute(update(_calls).where(_calls.c.id == call_id).values(changes))


def learn(session: Session, call_id: UUID, *, provider_call_id: str) -> None:
    """Note the carrier's id of a call of ours, from the carrier's answer or under our token.

    Another call that was taken for it, by its numbers, was not it. The caller holds the call's row.
    """
    carried_alike = select(Call.provider_type).where(Call.id == call_id).scalar_subquery()
    mistaken = update(_calls).where(
        _calls.c.provider_type == carried_alike,
        _calls.c.provider_call_id == provider_call_id,
        _calls.c.id != call_id,
    )
    session.execute(mistaken.values(provider_call_id=None))
    note(session, call_id, provider_call_id=provider_call_id)


def spend(session: Session, call_id: UUID, tokens: Tokens) -> None:
    """Add what a turn has cost; the caller holds the call's row.

    What is spent once the call has ended goes to the ledger at once: its end has been noted.
    """
    spent = {"call_id": call_id, "spent": tokens.total, "spent_on_output": tokens.output}
    call = session.connection().execute(_SPEND, spent).one()
    if call.status in states.TERMINAL:
        metering.spent_later(session, call, tokens)


def note_heard(session: Session, call_id: UUID, *, heard: str) -> None:
    """Note what was heard of the agent's last turn; the caller holds the call's row."""
    last = select(Turn).where(Turn.call_id == call_id, Turn.speaker == "agent")
    turn = session.scalars(last.order_by(Turn.sequence.desc()).limit(1)).one_or_none()
    if turn is not None:
        turn.heard_text = transcript.heard_of(turn.text, heard)
        session.flush()


def happened(session: Session, call_id: UUID, event: CallEvent) -> State:
    """Record an event and what follows from it for the call; raises NotFound."""
    call = session.get(Call, call_id, with_for_update=True, populate_existing=True)
    if call is None:
        raise NotFound
    if call.provider_call_id is None and event.call_id != call_id.hex:
        learn(session, call_id, provider_call_id=event.call_id)
    before, state = call.state, states.after(call.state, event)
    deeds.note(session, "call", call_id, changes=_told(before, state))
    session.connection().execute(_NEW_EVENT, _event_row(call_id, event))
    if state != before:
        _move(session, call, before, state)
    if not call.live:
        metering.told_later(session, call, before, state)
    return state


def _move(session: Session, call: Call, before: State, state: State) -> None:
    """Write what a call has come to, and tell of it, in one round trip."""
    waits = None
    if call.live and state.status in states.TERMINAL:
        said = turns(session, call.id)
        waits = _text(latency.summary(turn.latency_ms for turn in said))
        ending.follow(session, call, state, said)
    row = {**vars(state), "latency": waits, "id": call.id.hex}
    moved = telling.moved(call.id, call, before, state)
    webhooks.tell_with(session, _MOVE, row, happened=moved)


def _told(before: State, state: State) -> dict[str, Any]:
    return {
        name: disclosure.shown(getattr(before, name), getattr(state, name))
        for name in ("status", "end_reason")
        if getattr(before, name) != getattr(state, name)
    }


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
