"""What Telnyx remembers of a call: how it ended, and which one bears our reference.

Its log of events holds them for a day, each as it was sent, somewhere in `metadata`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from vca.kit import clock
from vca.telephony.providers.telnyx import api, control, marks, outcomes
from vca.telephony.providers.telnyx.api import Asking
from vca.telephony.types import CallEvent, OutboundCall, Seen

_PAGE = 250
# Nobody looks for a call that was placed longer ago.
_PLACED_WITHIN = timedelta(minutes=20)
_DEEPEST = 8


def seen(ask: Asking, call: str) -> Seen | None:
    """How a call is, or was at its end; None if Telnyx does not know it."""
    status = control.find(ask, call)
    if status is None:
        return None
    return Seen(call, _end(ask, call, status) if control.is_over(status) else None)


def placed(ask: Asking, call: OutboundCall, connection_id: str) -> str | None:
    """The id of the call under our reference: a live one, else one in the log."""
    live = ask(ask.client.connections.list_active_calls, connection_id, page_size=_PAGE)
    for found in api.items(live):
        if _bears(found.client_state, call.reference):
            return str(found.call_control_id)
    since = (clock.now() - _PLACED_WITHIN).isoformat()
    told = _log(ask, {"to": call.number, "occurred_at": {"gte": since}})
    for payload in _holding(told, "client_state"):
        call_id = payload.get("call_control_id")
        if isinstance(call_id, str) and _bears(payload["client_state"], call.reference):
            return call_id
    return None


def _bears(client_state: object, reference: str) -> bool:
    mark = marks.read(client_state)
    return mark is not None and mark.reference == reference


def _end(ask: Asking, call: str, status: Any) -> CallEvent:
    told = _log(ask, {"leg_id": status.call_leg_id})
    hang_ups = list(_holding(told, "hangup_cause"))
    cause = str(hang_ups[0]["hangup_cause"]) if hang_ups else ""
    mark = marks.read(status.client_state)
    outcome = outcomes.of(cause, phase=mark.phase if mark else "") if cause else outcomes.LOST
    key = "-".join(filter(None, ("call.hangup", cause, call)))
    return CallEvent(
        outcome.event_type,
        call,
        _moment(status.end_time),
        key,
        end_reason=outcome.end_reason,
        end_detail=outcomes.detail(cause),
    )


def _log(ask: Asking, which: Mapping[str, Any]) -> list[Any]:
    kept = {**which, "type": "webhook"}
    return api.items(ask(ask.client.call_events.list, filter=kept, page_size=_PAGE))


def _holding(told: list[Any], name: str) -> Iterator[Mapping[str, Any]]:
    """The payloads that have such a field, wherever in an event's `metadata` they are."""
    for event in told:
        yield from _within(event.metadata, name, _DEEPEST)


def _within(value: Any, name: str, depth: int) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, dict) or depth == 0:
        return
    if value.get(name):
        yield value
    for inner in value.values():
        yield from _within(inner, name, depth - 1)


def _moment(text: str) -> datetime:
    """Telnyx's times bear an offset; one that does not is taken for now."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return clock.now()
    return moment if moment.tzinfo is not None else clock.now()
