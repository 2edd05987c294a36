"""Insert and update the rows of calls, and emit their webhook events.

Uses table statements instead of ORM objects to save round trips, because a caller waits.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Table, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vca.audit import context, redaction
from vca.conversation.types import Tokens
from vca.kit import clock, db, json
from vca.kit.errors import NotFound
from vca.services import Services
from vca.telephony.types import CallEvent, ProviderAccountRef
from vca.tenant.calls.core import (
    call_end,
    call_events,
    event_times,
    metering,
    simulated_tokens,
    state_machine,
)
from vca.tenant.calls.core.call_context import CONTEXT_COLUMNS, CallContext, context_from_row
from vca.tenant.calls.core.call_transfer import CallTransfer
from vca.tenant.calls.core.call_types import NewCall, StoredCall, account_of
from vca.tenant.calls.core.models import LIVE_CONDITION, Call, TurnRecord
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.webhooks import events as webhooks

_calls: Table = Call.__table__  # type: ignore[assignment] # typed as FromClause
_CARRIER_ID_KEY = "calls_provider_type_provider_call_id_key"

# Inserts a call, its first events and the greeting in one statement.
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
_INSERT_EVENT = """
INSERT INTO call_events (
    id, tenant_id, call_id, event_type, event_key, timestamp, position, details
) VALUES (
    %(id)s, current_setting('vca.tenant_id')::uuid, %(call_id)s, %(event_type)s, %(event_key)s,
    %(timestamp)s, %(position)s, %(details)s
) ON CONFLICT (call_id, event_key) DO NOTHING
"""
# PostgreSQL would read the turns as of the time before it waited for the lock, if both were one
# statement. Sent together they take one round trip.
_LOCK_ROW = "SELECT FROM calls WHERE id = %(call_id)s FOR UPDATE"
# The first six columns are the state; the others are in the order of `StoredCall`.
_LOCK_STORED_CALL = f"""
{_LOCK_ROW};
SELECT c.status, c.started_at, c.answered_at, c.ended_at, c.end_reason, c.end_detail, c.id,
    c.phone_number_id, c.ai_profile_id, c.direction, c.simulated, c.provider_type,
    c.provider_call_id, c.telephony_account_id, c.recording_status, c.route, c.tokens,
    c.output_tokens, c.created_at, t.spoken_chars, t.latencies, s.retention_days, c.transfer
FROM calls c
CROSS JOIN settings s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(length(text)) FILTER (WHERE speaker = 'agent'), 0) AS spoken_chars,
        coalesce(jsonb_agg(latency_ms), '[]') AS latencies
    FROM turns WHERE call_id = c.id
) t
WHERE c.id = %(call_id)s
"""
_LOCK_CALL = f"""
{_LOCK_ROW};
SELECT {CONTEXT_COLUMNS}
"""
_FROM_CALL = """
FROM calls c
CROSS JOIN settings s
LEFT JOIN phone_numbers n ON n.id = c.phone_number_id
LEFT JOIN ai_profile_versions v
    ON v.ai_profile_id = c.ai_profile_id AND v.version = c.ai_profile_version
WHERE c.id = %(call_id)s
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


def insert_call(
    session: Session,
    call_id: UUID,
    call: NewCall,
    events: Sequence[CallEvent],
    state: LifecycleState,
    *,
    greeting: str,
) -> None:
    """Insert a call with its first events and greeting, and emit its events.

    All of it is sent with the next statement or the commit. That raises an error for which
    `is_known_call` is true if a call with this carrier id exists.
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
    webhooks.emit(session, *call_events.state_change_events(call_id, call, None, state))
    connection = session.connection()
    db.record_table_use(connection, _INSERT_CALL)
    db.defer_statement(connection, _INSERT_CALL, row)


def is_known_call(error: DBAPIError) -> bool:
    """Return whether a call was not inserted because one with its carrier id exists."""
    return db.constraint_name(error) == _CARRIER_ID_KEY


def lock_call_context(session: Session, call_id: UUID) -> CallContext:
    """Lock the call's row and return it with its profile and settings; raise NotFound."""
    rows = db.fetch_rows(session.connection(), _LOCK_CALL_CONTEXT, {"call_id": call_id.hex})
    if not rows:
        raise NotFound
    return context_from_row(rows[0])


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
    return context_from_row(context_row), [TurnRecord(*turn) for turn in turns]


def lock_stored_call(session: Session, call_id: UUID) -> StoredCall:
    """Lock the call's row and return what its events and its metering need; raise NotFound."""
    rows = db.fetch_rows(session.connection(), _LOCK_STORED_CALL, {"call_id": call_id.hex})
    if not rows:
        raise NotFound
    *columns, transfer = rows[0]
    state = LifecycleState(*columns[:6])
    return StoredCall(state, CallTransfer.from_dict(transfer), *columns[6:])


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


def find_provider_call_id(session: Session, call_id: UUID) -> str | None:
    """Return the carrier's id of a call, or None if it is not known or there is no such call."""
    return session.scalar(select(Call.provider_call_id).where(Call.id == call_id))


def find_websocket_offer(session: Session, call_id: UUID) -> UUID | None:
    """Return the slot in the token of a live call's last voice WebSocket, or None."""
    live_call = Call.id == call_id, text(LIVE_CONDITION)
    return session.scalar(select(Call.websocket_offer).where(*live_call))


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


def add_tokens(session: Session, call_context: CallContext, tokens: Tokens) -> None:
    """Add the tokens that a turn used. The caller locks the call's row.

    Tokens used after the end are metered at once, because the metering at the end has already
    happened.
    """
    parameters = {
        "call_id": call_context.id.hex,
        "spent": tokens.total,
        "spent_on_output": tokens.output,
    }
    db.defer_statement(session.connection(), _ADD_TOKENS, parameters)
    if call_context.simulated:
        simulated_tokens.record_tokens(session, call_context, tokens)
    elif call_context.has_ended:
        metering.meter_late_tokens(session, lock_stored_call(session, call_context.id), tokens)


def apply_event(
    session: Session, call_id: UUID, event: CallEvent, *, services: Services
) -> LifecycleState:
    """Store an event, update the state and run what follows from it; raise NotFound.

    An event of another call of the carrier changes nothing. Until the call has been answered, the
    carrier's id on record may be that of a call which was only similar.
    """
    call = lock_stored_call(session, call_id)
    is_own_id = event.call_id in (call_id.hex, call.provider_call_id)
    if not is_own_id and call.provider_call_id is not None and call.state.answered_at is not None:
        return call.state
    if call.provider_call_id is None and not is_own_id:
        set_provider_call_id(session, call_id, provider_call_id=event.call_id)
    timestamp = event_times.clamp_event_time(
        event.timestamp, started_at=call.state.started_at, now=clock.now()
    )
    event = replace(event, timestamp=timestamp)
    before, state = call.state, state_machine.next_state(call.state, event)
    context.record_change(session, "call", call_id, changes=_audit_changes(before, state))
    event_row = _event_row(call_id, event)
    event_row["details"] = _json_text(event_row["details"])
    db.defer_statement(session.connection(), _INSERT_EVENT, event_row)
    if state != before:
        _update_state(session, call, before, state, services=services)
    if not call.live:
        metering.correct_after_event(session, call, before, state)
    return state


def _update_state(
    session: Session,
    call: StoredCall,
    before: LifecycleState,
    state: LifecycleState,
    *,
    services: Services,
) -> None:
    """Store the new state and emit its webhook events, together with the next statement."""
    end_result = call_end.NO_RESULT
    if call.live and state.status in state_machine.TERMINAL:
        end_result = call_end.run_end_actions(session, call, state, services=services)
    row = {
        **vars(state),
        "id": call.id.hex,
        "latency": _json_text(end_result.latency) if end_result.latency else None,
        "analysis_status": end_result.analysis and end_result.analysis.status,
        "analysis_reason": end_result.analysis and end_result.analysis.reason,
    }
    webhooks.emit(session, *call_events.state_change_events(call.id, call, before, state))
    db.defer_statement(session.connection(), _UPDATE_STATE, row)


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
        "id": uuid4().hex,
        "call_id": call_id.hex,
        "event_type": event.event_type,
        "event_key": event.key,
        "timestamp": event.timestamp,
        "position": state_machine.STATUS_RANKS[state_machine.STATUS_AFTER_EVENT[event.event_type]],
        "details": details,
    }
