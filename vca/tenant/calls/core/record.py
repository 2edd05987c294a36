"""Insert and update the rows of calls, and emit their webhook events.

Uses table statements instead of ORM objects to save round trips, because a caller waits.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, Table, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.conversation import transcript
from vca.conversation.types import Tokens
from vca.kit import db, json
from vca.kit.errors import NotFound
from vca.telephony.types import CallEvent, ProviderAccountRef
from vca.tenant.calls.core import call_end, call_events, latency, metering, state_machine
from vca.tenant.calls.core.call_types import CallContext, NewCall, account_of
from vca.tenant.calls.core.models import Call, Event, Turn, TurnRecord
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.settings import phrases
from vca.tenant.webhooks import events as webhooks

_calls: Table = Call.__table__  # type: ignore[assignment] # typed as FromClause
_events: Table = Event.__table__  # type: ignore[assignment]

# Inserts a call, its first events and the greeting in one statement and so in one round trip.
_INSERT_CALL = """
WITH ringing AS (
    INSERT INTO calls (
        id, tenant_id, phone_number_id, ai_profile_id, ai_profile_version, direction, status,
        end_reason, end_detail, caller_number, caller_id, called_number, provider_type,
        provider_call_id, telephony_account_id, simulated, started_at, answered_at, ended_at,
        route, call_metadata, recording_status, simulation, reserved
    ) VALUES (
        %(id)s, current_setting('vca.tenant_id')::uuid, %(phone_number_id)s, %(ai_profile_id)s,
        %(ai_profile_version)s, %(direction)s, %(status)s, %(end_reason)s, %(end_detail)s,
        %(caller_number)s, %(caller_id)s, %(called_number)s, %(provider_type)s,
        %(provider_call_id)s, %(telephony_account_id)s, %(simulated)s, %(started_at)s,
        %(answered_at)s, %(ended_at)s, %(route)s, %(call_metadata)s, %(recording_status)s,
        %(simulation)s, %(reserved)s
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
# PostgreSQL would read the turns as of the time before it waited for the lock, if both were one
# statement. Sent together they take one round trip.
_LOCK_CALL = """
SELECT FROM calls WHERE id = %(call_id)s FOR UPDATE;
SELECT c.id, c.status, c.started_at, c.caller_number, c.called_number, c.answered_at,
    c.ai_profile_id, c.direction, c.simulated, c.provider_type, c.provider_call_id,
    c.telephony_account_id, c.recording_status, c.simulation, c.transfer, c.tokens,
    c.call_metadata, c.websocket_offer, c.websocket_slot, c.analysed_at, c.analysis_status,
    c.analysis_reason,
    -- With the language that the caller speaks, if it is not the profile's own.
    v.profile || coalesce(c.spoken_language, '{}'), n.fallback_number, s.sentences, s.phrases,
    s.time_zone, s.variables, coalesce(n.hours, s.hours)::text
"""
_FROM_CALL = """
FROM calls c
CROSS JOIN settings s
LEFT JOIN phone_numbers n ON n.id = c.phone_number_id
LEFT JOIN ai_profile_versions v
    ON v.ai_profile_id = c.ai_profile_id AND v.version = c.ai_profile_version
WHERE c.id = %(call_id)s
"""
_SELECT_TURNS = """
SELECT sequence, speaker, text, heard_text, answers FROM turns
WHERE call_id = %(call_id)s AND sequence > %(after)s ORDER BY sequence
"""
_LOCK_CALL_CONTEXT = f"{_LOCK_CALL} {_FROM_CALL}"
_LOCK_CALL_AND_TURNS = f"""
{_LOCK_CALL}, ARRAY(
    SELECT json_build_array(sequence, speaker, text, heard_text, answers) FROM turns
    WHERE call_id = c.id AND sequence > %(after)s ORDER BY sequence
)
{_FROM_CALL}
"""
_ADD_TOKENS = """
UPDATE calls SET tokens = tokens + %(spent)s, output_tokens = output_tokens + %(spent_on_output)s
WHERE id = %(call_id)s
"""


def sentence_or_default(config: CallContext | Row[Any], name: str, *, language: str | None) -> str:
    """Return the tenant's sentence, or the default one, in the language of the profile.

    `config` has the columns `sentences` and `phrases` of the settings.
    """
    return phrases.choose_sentence(
        name, sentences=config.sentences, phrases=config.phrases, language=language
    )


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
        "simulation": _json_text(call.simulation) if call.simulation is not None else None,
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
    refused_tools: Sequence[Mapping[str, Any]] = (),
    at_commit: bool = False,
) -> None:
    """Insert a turn. The caller locks the call's row.

    `at_commit`: insert it with the commit, which saves a round trip. Until then it is not there.
    """
    row = {
        "call_id": call_id.hex,
        "sequence": sequence,
        "speaker": speaker,
        "text": text,
        "started_at": started_at,
        "latency_ms": _json_text(dict(latency_ms or {})),
        "answers": answers,
        "actions": _json_text(list(actions)),
        "tokens": _json_text(dict(tokens or {})),
    }
    if refused_tools:  # rare: most turns leave the column to its default
        row["refused_tools"] = _json_text(list(refused_tools))
    context.record_change(session, "call", call_id)
    statement = (
        f"INSERT INTO turns (tenant_id, {', '.join(row)})"
        f" VALUES (current_setting('vca.tenant_id')::uuid, {', '.join(f'%({n})s' for n in row)})"
    )
    _execute(session, statement, row, at_commit=at_commit)


def lock_call_context(session: Session, call_id: UUID) -> CallContext:
    """Lock the call's row and return it with its profile and settings; raise NotFound."""
    rows = db.fetch_rows(session.connection(), _LOCK_CALL_CONTEXT, {"call_id": call_id.hex})
    if not rows:
        raise NotFound
    return CallContext(*rows[0])


def lock_call_and_turns(
    session: Session, call_id: UUID, *, after: int = 0
) -> tuple[CallContext, Sequence[TurnRecord]]:
    """Lock the call's row and return its context and its turns, in one round trip.

    The first `after` turns are skipped. Raises NotFound.
    """
    parameters = {"call_id": call_id.hex, "after": after}
    rows = db.fetch_rows(session.connection(), _LOCK_CALL_AND_TURNS, parameters)
    if not rows:
        raise NotFound
    *context_row, turns = rows[0]
    return CallContext(*context_row), [TurnRecord(*turn) for turn in turns]


def list_turns(session: Session, call_id: UUID, *, after: int = 0) -> Sequence[TurnRecord]:
    """Return the turns in order, numbered from 1. Skip the first `after` turns."""
    parameters = {"call_id": call_id.hex, "after": after}
    rows = db.fetch_rows(session.connection(), _SELECT_TURNS, parameters)
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


def add_tokens(
    session: Session, call_context: CallContext, tokens: Tokens, *, at_commit: bool = False
) -> None:
    """Add the tokens that a turn used. The caller locks the call's row.

    Tokens used after the end are metered at once, because the metering at the end has already
    happened. `at_commit`: add the tokens with the commit, which saves a round trip.
    """
    parameters = {
        "call_id": call_context.id.hex,
        "spent": tokens.total,
        "spent_on_output": tokens.output,
    }
    if call_context.status in state_machine.TERMINAL:
        session.connection().exec_driver_sql(_ADD_TOKENS, parameters)
        call = session.get_one(Call, call_context.id, populate_existing=True)
        metering.meter_late_tokens(session, call, tokens)
    else:
        _execute(session, _ADD_TOKENS, parameters, at_commit=at_commit)


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


def _execute(
    session: Session, statement: str, parameters: dict[str, Any], *, at_commit: bool
) -> None:
    if at_commit:
        db.set_commit_sql(session.connection(), statement, parameters)
    else:
        session.connection().exec_driver_sql(statement, parameters)


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
