"""Find calls at Telnyx: how a call ended, and which call has our reference.

Telnyx's event log stores events for a day, each as it was sent, somewhere in `metadata`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from vca.kit import clock
from vca.telephony.providers.telnyx import api, client_state, control, hangup_causes
from vca.telephony.providers.telnyx.api import ApiSession
from vca.telephony.state_signature import StateSigner
from vca.telephony.types import CallEvent, CallStatus, PlacedCallQuery

_PAGE = 250
# Calls that were placed longer ago are never searched for.
_SEARCH_WINDOW = timedelta(minutes=20)
_MAX_DEPTH = 8


def find_call_status(session: ApiSession, signer: StateSigner, call_id: str) -> CallStatus | None:
    """Return the status of a call, live or ended, or None if Telnyx does not know it."""
    status = control.find_status(session, call_id)
    if status is None:
        return None
    has_ended = control.has_ended(status)
    return CallStatus(call_id, _end_event(session, signer, call_id, status) if has_ended else None)


def find_placed_call(
    session: ApiSession, signer: StateSigner, query: PlacedCallQuery, connection_id: str
) -> str | None:
    """Return the id of the call with our reference: a live one, else one in the log."""
    active_calls = session(
        session.client.connections.list_active_calls, connection_id, page_size=_PAGE
    )
    for active_call in api.page_items(active_calls):
        if _has_reference(active_call.client_state, signer, query.reference):
            return str(active_call.call_control_id)
    since = (clock.now() - _SEARCH_WINDOW).isoformat()
    events = _list_events(session, {"to": query.number, "occurred_at": {"gte": since}})
    for payload in _payloads_with(events, "client_state"):
        call_id = payload.get("call_control_id")
        encoded_state = payload["client_state"]
        if isinstance(call_id, str) and _has_reference(encoded_state, signer, query.reference):
            return call_id
    return None


def _has_reference(encoded_state: object, signer: StateSigner, reference: str) -> bool:
    leg_state = client_state.decode_signed(encoded_state, signer)
    return leg_state is not None and leg_state.reference == reference


def _end_event(session: ApiSession, signer: StateSigner, call_id: str, status: Any) -> CallEvent:
    events = _list_events(session, {"leg_id": status.call_leg_id})
    hangups = list(_payloads_with(events, "hangup_cause"))
    cause = str(hangups[0]["hangup_cause"]) if hangups else ""
    leg_state = control.leg_state_of(status, signer)
    outcome = (
        hangup_causes.hangup_outcome(cause, phase=leg_state.phase if leg_state else "")
        if cause
        else hangup_causes.LOST
    )
    key = "-".join(filter(None, ("call.hangup", cause, call_id)))
    return CallEvent(
        outcome.event_type,
        call_id,
        _parse_time(status.end_time),
        key,
        end_reason=outcome.end_reason,
        end_detail=hangup_causes.clean_cause(cause),
    )


def _list_events(session: ApiSession, criteria: Mapping[str, Any]) -> list[Any]:
    event_filter = {**criteria, "type": "webhook"}
    return api.page_items(
        session(session.client.call_events.list, filter=event_filter, page_size=_PAGE)
    )


def _payloads_with(events: list[Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the payloads that have this field, wherever they are in an event's `metadata`."""
    for event in events:
        yield from _objects_with(event.metadata, name, _MAX_DEPTH)


def _objects_with(value: Any, name: str, depth: int) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, dict) or depth == 0:
        return
    if value.get(name):
        yield value
    for inner in value.values():
        yield from _objects_with(inner, name, depth - 1)


def _parse_time(text: str) -> datetime:
    """Return a timestamp of Telnyx's, which has an offset. One without counts as now."""
    try:
        timestamp = datetime.fromisoformat(text)
    except ValueError:
        return clock.now()
    return timestamp if timestamp.tzinfo is not None else clock.now()
