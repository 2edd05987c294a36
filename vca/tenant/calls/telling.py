"""What a call's events tell: its ids, how far it is and how it ended; never who called."""

from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from vca.tenant.calls import states
from vca.tenant.calls.refs import CallRef
from vca.tenant.calls.states import State
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event


class Told(Protocol):
    """A call, about to be recorded or on record."""

    @property
    def direction(self) -> str: ...
    @property
    def phone_number_id(self) -> UUID | None: ...
    @property
    def ai_profile_id(self) -> UUID | None: ...
    @property
    def simulated(self) -> bool: ...


def moved(call_id: UUID, call: Told, before: State | None, state: State) -> list[Event]:
    """What a call has come to since it was `before`; None: it has just begun."""
    types = []
    if before is None:
        types.append("call.started")
    if state.answered_at is not None and (before is None or before.answered_at is None):
        types.append("call.answered")
    if state.status in states.TERMINAL and (before is None or before.status not in states.TERMINAL):
        types.append("call.ended")
    data = _data(call_id, call, state)
    return [Event(type, data, simulated=call.simulated) for type in types]


def transferred(session: Session, ref: CallRef, talk: Row[Any], *, target: str, came: str) -> None:
    """Tell that a transfer succeeded, or why it did not."""
    type = "call.transfer_completed" if came == "completed" else "call.transfer_failed"
    data = {"call_id": ref.call_id, "target": target, "reason": came}
    events.tell(session, Event(type, data, simulated=talk.simulated))


def analysed(session: Session, ref: CallRef, *, outcome: str | None, simulated: bool) -> None:
    """Tell that a model has noted what a call was about."""
    data = {"call_id": ref.call_id, "outcome": outcome}
    events.tell(session, Event("call.analysed", data, simulated=simulated))


def _data(call_id: UUID, call: Told, state: State) -> dict[str, Any]:
    return {
        "call_id": call_id,
        "direction": call.direction,
        "status": state.status,
        "phone_number_id": call.phone_number_id,
        "ai_profile_id": call.ai_profile_id,
        "started_at": state.started_at,
        "answered_at": state.answered_at,
        "ended_at": state.ended_at,
        "end_reason": state.end_reason,
        "duration_seconds": state.duration_seconds,
    }
