"""Webhook events of a call. They contain ids, state and end reason, but no caller's number."""

from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from vca.tenant.calls.core import state_machine
from vca.tenant.calls.core.call_context import CallContext
from vca.tenant.calls.core.call_types import CallRef
from vca.tenant.calls.core.state_machine import LifecycleState
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event


class CallFields(Protocol):
    """The fields of a call that events contain, for a stored call or one about to be inserted."""

    @property
    def direction(self) -> str:
        """`inbound` or `outbound`."""

    @property
    def phone_number_id(self) -> UUID | None:
        """The tenant's number, unless it was deleted."""

    @property
    def ai_profile_id(self) -> UUID | None:
        """The profile that answers, if any."""

    @property
    def simulated(self) -> bool:
        """Whether the call is a simulation."""


def state_change_events(
    call_id: UUID, call: CallFields, before: LifecycleState | None, state: LifecycleState
) -> list[Event]:
    """Return the events for a change of state. `before` is None for a new call."""
    types = []
    if before is None:
        types.append("call.started")
    if state.answered_at is not None and (before is None or before.answered_at is None):
        types.append("call.answered")
    if state.status in state_machine.TERMINAL and (
        before is None or before.status not in state_machine.TERMINAL
    ):
        types.append("call.ended")
    data = _event_data(call_id, call, state)
    return [Event(type, data, simulated=call.simulated) for type in types]


def emit_transfer_result(
    session: Session, ref: CallRef, call_context: CallContext, *, target: str, result: str
) -> None:
    """Emit that a transfer succeeded, or why it failed."""
    event_type = "call.transfer_completed" if result == "completed" else "call.transfer_failed"
    data = {"call_id": ref.call_id, "target": target, "reason": result}
    events.emit(session, Event(event_type, data, simulated=call_context.simulated))


def emit_call_analysed(
    session: Session, ref: CallRef, *, outcome: str | None, simulated: bool
) -> None:
    """Emit that a model has analysed the call."""
    data = {"call_id": ref.call_id, "outcome": outcome}
    events.emit(session, Event("call.analysed", data, simulated=simulated))


def _event_data(call_id: UUID, call: CallFields, state: LifecycleState) -> dict[str, Any]:
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
