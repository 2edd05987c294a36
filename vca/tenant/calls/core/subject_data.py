"""Export calls of a person, and remove personal data from them.

The fact that there was a call stays on record.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from vca.services.lifecycle_hooks import ERASED
from vca.tenant.base import any_id, execute_count, row_to_dict
from vca.tenant.calls.core.analysis_state import FORGOTTEN_COLUMNS
from vca.tenant.calls.core.models import Call, Event, OutboundLeg, Turn
from vca.tenant.idempotency import stored_responses

# The values that replace the personal fields of an erased call, in its row and in stored responses.
_ERASED_COLUMNS: dict[str, Any] = {
    "call_metadata": {},
    "summary": None,
    "data": None,
    "transfer": None,
    **FORGOTTEN_COLUMNS,
}
_ERASED_NUMBERS: dict[str, Any] = {"caller_number": None, "called_number": ERASED}
_ERASED_FIELDS: dict[str, Any] = {
    **_ERASED_NUMBERS,
    "metadata": {},
    "summary": None,
    "data": None,
    "transfer": None,
}


def export_calls(session: Session, call_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return the row of each call with its events, turns and dialled legs."""
    events = _rows_by_call(session, Event, call_ids, Event.timestamp, Event.position, Event.id)
    turns = _rows_by_call(session, Turn, call_ids, Turn.sequence)
    legs = _rows_by_call(session, OutboundLeg, call_ids, OutboundLeg.created_at)
    return {
        call.id: {
            **row_to_dict(call),
            "events": events[call.id],
            "turns": turns[call.id],
            "dialled": legs[call.id],
        }
        for call in session.scalars(select(Call).where(any_id(Call.id, call_ids)))
    }


def erase_calls(session: Session, call_ids: Sequence[UUID]) -> dict[str, int]:
    """Erase turns, event details and other content of the calls; their numbers last."""
    if not call_ids:
        return {}
    stored_response_count = stored_responses.replace_fields(session, call_ids, _ERASED_FIELDS)
    counts = {
        "answers": stored_response_count,
        "turns": execute_count(session, delete(Turn).where(any_id(Turn.call_id, call_ids))),
        "events": execute_count(
            session, update(Event).where(any_id(Event.call_id, call_ids)).values(details={})
        ),
        "calls": len(call_ids),
    }
    of_dialled_legs = any_id(OutboundLeg.call_id, call_ids), OutboundLeg.kind == "call"
    session.execute(update(OutboundLeg).where(*of_dialled_legs).values(number=ERASED))
    for direction, column in (("inbound", "caller_number"), ("outbound", "called_number")):
        changes = {**_ERASED_COLUMNS, column: _ERASED_NUMBERS[column]}
        of_direction = any_id(Call.id, call_ids), Call.direction == direction
        session.execute(update(Call).where(*of_direction).values(changes))
    return counts


def _rows_by_call(
    session: Session, table: Any, call_ids: Sequence[UUID], *order_by: Any
) -> Mapping[UUID, list[dict[str, Any]]]:
    rows_by_call: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    query = select(table).where(any_id(table.call_id, call_ids)).order_by(*order_by)
    for row in session.scalars(query):
        rows_by_call[row.call_id].append(row_to_dict(row))
    return rows_by_call
