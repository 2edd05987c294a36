"""Insert and update the rows of calls, and emit their webhook events.

Uses table statements instead of ORM objects to save round trips, because a caller waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
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
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.conversation import transcript
from vca.conversation.types import Tokens
from vca.kit import json
from vca.kit.errors import NotFound
from vca.telephony.types import CallEvent, ProviderAccountRef
from vca.tenant.ai_profiles.models import AiProfileVersion
from vca.tenant.calls.core import call_end, call_events, latency, metering, state_machine
from vca.tenant.calls.core.call_types import NewCall, account_of
from vca.tenant.calls.core.models import LIVE_CONDITION, Call, Event, Turn, TurnRecord
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings.models import Settings
from vca.tenant.settings.service import DEFAULT_SENTENCES
from vca.tenant.usage.cap import LiveCalls
from vca.tenant.webhooks import events as webhooks

_calls: Table = Call.__table__  # type: ignore[assignment] # typed as FromClause
_events: Table = Event.__table__  # type: ignore[assignment]
_turns: Table = Turn.__table__  # type: ignore[assignment]

_SELECT_LIVE_USAGE = select(func.count(), func.coalesce(func.sum(Call.reserved), 0)).where(
    text(LIVE_CONDITION), Call.simulated.is_(False)
)
# Inserts a call, its first events and the greeting in one statement and so in one round trip.
_INSERT_CALL = """
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
_UPDATE_STATE = """
UPDATE calls
SET status = %(status)s, started_at = %(started_at)s, answered_at = %(answered_at)s,
    ended_at = %(ended_at)s, end_reason = %(end_reason)s, end_detail = %(end_detail)s,
    latency = coalesce(%(latency)s, latency),
    analysis_status = coalesce(%(analysis_status)s, analysis_status),
    analysis_reason = coalesce(%(analysis_reason)s, analysis_reason)
WHERE id = %(id)s
"""
# The columns of it that only the end of a call sets.
_END_COLUMNS = ("latency", "analysis_status", "analysis_reason")
_INSERT_EVENT = postgres_insert(_events).on_conflict_do_nothing(
    index_elements=["call_id", "event_key"]
)
_INSERT_TURN = insert(_turns)
_SELECT_TURNS = (
    select(*(_turns.c[column.name] for column in fields(TurnRecord)))
    .where(_turns.c.call_id == bindparam("call_id"), _turns.c.sequence > bindparam("after"))
    .order_by(_turns.c.sequence)
)
_ADD_TOKENS = (
    update(_calls)
    .where(_calls.c.id == bindparam("call_id"))
    .values(
        tokens=_calls.c.tokens + bindparam("spent"),
        output_tokens=_calls.c.output_tokens + bindparam("spent_on_output"),
    )
    .returning(_calls)
)
_LOCK_CALL_CONTEXT = (
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
        Call.analysed_at,
        Call.analysis_status,
        Call.analysis_reason,
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


def live_usage(session: Session) -> LiveCalls:
    """Return the number of real live calls and the budget that they reserve."""
    call_count, reserved = session.connection().execute(_SELECT_LIVE_USAGE).one()
    return LiveCalls(call_count, int(reserved))


def live_call_count(session: Session) -> int:
    """Return how many real calls are live."""
    return live_usage(session).calls


def count_tokens(session: Session, *, hours: int) -> int:
    """Return how many model tokens the real calls that began in the last `hours` have used."""
    in_period = Call.started_at > func.now() - timedelta(hours=hours)
    token_sum = select(func.coalesce(func.sum(Call.tokens), 0)).where(
        in_period, Call.simulated.is_(False)
    )
    return int(session.scalar(token_sum) or 0)


def sentence_or_default(sentences: Mapping[str, str], name: str) -> str:
    """Return the tenant's sentence, or the default one."""
    return sentences.get(name) or DEFAULT_SENTENCES[name]


def insert_call(
    session: Session,
    call_id: UUID,
    call: NewCall,
    events: Sequence[CallEvent],
    state: LifecycleState,
    *,
    greeting: str,
) -> bool:
    """Insert a call with its first events and greeting, and emit its events, in one round trip.

    Returns False if a call with this carrier id exists. The caller must then roll back the events.
    """
    row = {
        **vars(call),
        **vars(state),
        "id": call_id.hex,
        "phone_number_id": _hex(call.phone_number_id),
        "ai_profile_id": _hex(call.ai_profile_id),
        "telephony_account_id": _hex(call.telephony_account_id),
        "route": _json_text(call.route),
        "call_metadata": _json_text(call.call_metadata),
        "events": _json_text([_event_row(call_id, event) for event in events]),
        "greeting": greeting,
    }
    context.record_change(session, "call", call_id)
    webhook_events = call_events.state_change_events(call_id, call, None, state)
    return (
        webhooks.execute_and_emit(session, _INSERT_CALL, row, events=webhook_events).one_or_none()
        is not None
    )


def insert_turn(
    session: Session,
    call_id: UUID,
    *,
    sequence: int,
    speaker: str,
    text: str,
    started_at: datetime,
    latency_ms: Mapping[str, int] | None = None,
    answers: int | None = None,
    actions: Sequence[Mapping[str, Any]] = (),
    tokens: Mapping[str, Any] | None = None,
) -> None:
    """Insert a turn. The caller locks the call's row."""
    row = {
        "call_id": call_id,
        "sequence": sequence,
        "speaker": speaker,
        "text": text,
        "started_at": started_at,
        "latency_ms": dict(latency_ms or {}),
        "answers": answers,
        "actions": list(actions),
        "tokens": dict(tokens or {}),
    }
    context.record_change(session, "call", call_id)
    session.connection().execute(_INSERT_TURN, row)


def lock_call_context(session: Session, call_id: UUID) -> Row[Any]:
    """Lock the call's row and return it with its profile and settings; raise NotFound."""
    statement: Executable = _LOCK_CALL_CONTEXT
    row = session.connection().execute(statement, {"call_id": call_id}).one_or_none()
    if row is None:
        raise NotFound
    return row


def list_turns(session: Session, call_id: UUID, *, after: int = 0) -> Sequence[TurnRecord]:
    """Return the turns in order, numbered from 1. Skip the first `after` turns."""
    rows = session.connection().execute(_SELECT_TURNS, {"call_id": call_id, "after": after})
    return [TurnRecord(*row) for row in rows]


def load_turns(session: Session, call_id: UUID) -> Sequence[Turn]:
    """Return all columns of all turns in order."""
    return session.scalars(
        select(Turn).where(Turn.call_id == call_id).order_by(Turn.sequence)
    ).all()


def get_call(session: Session, call_id: UUID) -> Call:
    """Return the call; raise NotFound."""
    call = session.get(Call, call_id)
    if call is None:
        raise NotFound
    return call


def find_call(
    session: Session, *, provider_type: str, provider_call_id: str
) -> tuple[UUID, ProviderAccountRef] | None:
    """Return the id and provider account of the call with this carrier id, or None."""
    query = select(Call.id, Call.provider_type, Call.telephony_account_id).where(
        Call.provider_type == provider_type, Call.provider_call_id == provider_call_id
    )
    row = session.execute(query).one_or_none()
    return (row.id, account_of(row)) if row else None


def provider_of(session: Session, call_id: UUID) -> ProviderAccountRef | None:
    """Return the provider account of a call, or None if there is no such call."""
    query = select(Call.provider_type, Call.telephony_account_id).where(Call.id == call_id)
    row = session.execute(query).one_or_none()
    return account_of(row) if row else None


def update_call(session: Session, call_id: UUID, **changes: Any) -> None:
    """Set columns of a call that no event changes. The caller locks its row."""
    context.record_change(session, "call", call_id)
    session.execute(update(_calls).where(_calls.c.id == call_id).values(changes))


def set_provider_call_id(session: Session, call_id: UUID, *, provider_call_id: str) -> None:
    """Store the carrier's id of a call that we placed, from its reply or a request with our token.

    If another call was matched to that id by its numbers, the match was wrong and is removed. The
    caller locks the call's row.
    """
    same_provider = select(Call.provider_type).where(Call.id == call_id).scalar_subquery()
    other_call = update(_calls).where(
        _calls.c.provider_type == same_provider,
        _calls.c.provider_call_id == provider_call_id,
        _calls.c.id != call_id,
    )
    session.execute(other_call.values(provider_call_id=None))
    update_call(session, call_id, provider_call_id=provider_call_id)


def add_tokens(session: Session, call_id: UUID, tokens: Tokens) -> None:
    """Add the tokens that a turn used. The caller locks the call's row.

    Tokens used after the end are metered at once, because the metering at the end has already
    happened.
    """
    parameters = {"call_id": call_id, "spent": tokens.total, "spent_on_output": tokens.output}
    call = session.connection().execute(_ADD_TOKENS, parameters).one()
    if call.status in state_machine.TERMINAL:
        metering.meter_late_tokens(session, call, tokens)


def set_heard_text(session: Session, call_id: UUID, *, heard_text: str) -> None:
    """Store what was heard of the agent's last turn. The caller locks the call's row."""
    agent_turns = select(Turn).where(Turn.call_id == call_id, Turn.speaker == "agent")
    turn = session.scalars(agent_turns.order_by(Turn.sequence.desc()).limit(1)).one_or_none()
    if turn is not None:
        turn.heard_text = transcript.match_heard_prefix(turn.text, heard_text)
        session.flush()


def apply_event(session: Session, call_id: UUID, event: CallEvent) -> LifecycleState:
    """Store an event, update the state and run what follows from it; raise NotFound."""
    call = session.get(Call, call_id, with_for_update=True, populate_existing=True)
    if call is None:
        raise NotFound
    if call.provider_call_id is None and event.call_id != call_id.hex:
        set_provider_call_id(session, call_id, provider_call_id=event.call_id)
    before, state = call.state, state_machine.next_state(call.state, event)
    context.record_change(session, "call", call_id, changes=_audit_changes(before, state))
    session.connection().execute(_INSERT_EVENT, _event_row(call_id, event))
    if state != before:
        _update_state(session, call, before, state)
    if not call.live:
        metering.correct_after_event(session, call, before, state)
    return state


def _update_state(
    session: Session, call: Call, before: LifecycleState, state: LifecycleState
) -> None:
    """Store the new state and emit its webhook events in one round trip."""
    end_columns: dict[str, str | None] = dict.fromkeys(_END_COLUMNS)
    if call.live and state.status in state_machine.TERMINAL:
        turns = load_turns(session, call.id)
        analysis = call_end.run_end_actions(session, call, state, turns)
        end_columns = {
            "latency": _json_text(latency.summarise_latency(turn.latency_ms for turn in turns)),
            "analysis_status": analysis.status,
            "analysis_reason": analysis.reason,
        }
    row = {**vars(state), **end_columns, "id": call.id.hex}
    webhook_events = call_events.state_change_events(call.id, call, before, state)
    webhooks.execute_and_emit(session, _UPDATE_STATE, row, events=webhook_events)


def _audit_changes(before: LifecycleState, state: LifecycleState) -> dict[str, Any]:
    return {
        name: redaction.plain_change(getattr(before, name), getattr(state, name))
        for name in ("status", "end_reason")
        if getattr(before, name) != getattr(state, name)
    }


def _hex(value: UUID | None) -> str | None:
    return value.hex if value is not None else None


def _json_text(value: Any) -> str:
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
        "position": state_machine.STATUS_RANKS[state_machine.STATUS_AFTER_EVENT[event.event_type]],
        "details": details,
    }
