"""Insert and read the turns of calls."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from vca.audit import context
from vca.conversation import transcript
from vca.conversation.types import Tokens
from vca.kit import db, json
from vca.services import Services
from vca.tenancy.session import run_in_tenant
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.models import Turn, TurnRecord

_SELECT_TURNS = """
SELECT sequence, speaker, text, heard_text, answers FROM turns
WHERE call_id = %(call_id)s AND sequence > %(after)s ORDER BY sequence
"""
# Locks a call, adds the tokens that its turn used and selects it, if it is live and the turn has no
# answer. The lock is a statement of its own, because
# PostgreSQL would read the turns as of the time before it waited for it.
_SELECT_UNANSWERED = """
SELECT FROM calls WHERE id = %(call_id)s FOR UPDATE;
WITH unanswered AS (
    SELECT c.id, (SELECT max(sequence) FROM turns WHERE call_id = c.id) AS last_sequence
    FROM calls c
    WHERE c.id = %(call_id)s AND c.status NOT IN ('failed', 'completed')
        AND NOT EXISTS (SELECT FROM turns WHERE call_id = c.id AND answers = %(answers)s)
), spending AS (
    UPDATE calls c
    SET tokens = tokens + %(spent)s, output_tokens = output_tokens + %(spent_on_output)s
    FROM unanswered WHERE c.id = unanswered.id
)
"""
_NO_TOKENS = Tokens()


def insert_turn(
    session: Session,
    call_id: UUID,
    *,
    sequence: int,
    speaker: str,
    text: str,
    started_at: datetime,
    **details: Any,
) -> None:
    """Insert a turn together with the next statement. The caller locks the call's row.

    `details` are those of `_turn_row`.
    """
    row = _turn_row(speaker, text, started_at, **details)
    context.record_change(session, "call", call_id)
    columns, values = _insertion_sql(row)
    db.defer_statement(
        session.connection(),
        f"INSERT INTO turns (call_id, sequence, {columns})"
        f" VALUES (%(call_id)s, %(sequence)s, {values})",
        {"call_id": call_id.hex, "sequence": sequence, **row},
    )


def store_reply(
    ref: CallRef,
    *,
    services: Services,
    text: str,
    started_at: datetime,
    answers: int | None,
    tokens: Tokens,
    **details: Any,
) -> int | None:
    """Store the agent's turn and its tokens in a transaction of its own; return its sequence.

    Returns None and stores nothing if the call has ended, or if the turn was answered already.
    `details` are those of `_turn_row`.
    """
    row = _turn_row("agent", text, started_at, answers=answers, tokens=tokens, **details)
    columns, values = _insertion_sql(row)
    parameters = {
        "call_id": ref.call_id.hex,
        "spent": tokens.total,
        "spent_on_output": tokens.output,
        **row,
    }
    statements = f"{_SELECT_UNANSWERED} INSERT INTO turns (call_id, sequence, {columns})" + (
        f" SELECT id, last_sequence + 1, {values} FROM unanswered RETURNING sequence"
    )
    rows = run_in_tenant(ref.tenant, statements, parameters, database=services.database)
    return rows[0][0] if rows else None


def _turn_row(
    speaker: str,
    text: str,
    started_at: datetime,
    *,
    latency_ms: Mapping[str, int] | None = None,
    answers: int | None = None,
    actions: Sequence[Mapping[str, Any]] = (),
    tokens: Tokens = _NO_TOKENS,
    refused_tools: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    row = {
        "speaker": speaker,
        "text": text,
        "started_at": started_at,
        "latency_ms": _json_text(dict(latency_ms or {})),
        "answers": answers,
        "actions": _json_text(list(actions)),
        "tokens": _json_text(vars(tokens) if tokens.total else {}),
    }
    if refused_tools:  # rare: most turns leave the column to its default
        row["refused_tools"] = _json_text(list(refused_tools))
    return row


def _insertion_sql(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the columns and the values of a row, with the tenant's id."""
    columns = ", ".join(("tenant_id", *row))
    values = ", ".join(f"%({name})s" for name in row)
    return columns, f"current_setting('vca.tenant_id')::uuid, {values}"


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


def set_heard_text(session: Session, call_id: UUID, *, heard_text: str) -> None:
    """Store what was heard of the agent's last turn. The caller locks the call's row."""
    agent_turns = select(Turn).where(Turn.call_id == call_id, Turn.speaker == "agent")
    turn = session.scalars(agent_turns.order_by(Turn.sequence.desc()).limit(1)).one_or_none()
    if turn is not None:
        turn.heard_text = transcript.match_heard_prefix(turn.text, heard_text)
        session.flush()


def _json_text(value: Any) -> str:
    return json.dumps(value).decode()
