"""The state machine of a call: pure, monotonic, and the same whatever order events come in.

Carriers deliver late, twice and out of order. So a state is a join of all that was seen: each time
is the earliest that was told, each rank the highest that was reached, and any shuffle of any
duplicated list of events ends in the same state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vca.telephony.types import CallEvent

RANKS = {
    "queued": 0,
    "ringing": 1,
    "in_progress": 2,
    "transferring": 3,
    "failed": 4,
    "completed": 5,
}
TERMINAL = ("failed", "completed")
REACHES = {
    "INITIATED": "queued",
    "RINGING": "ringing",
    "ANSWERED": "in_progress",
    "ENDED": "completed",
    "FAILED": "failed",
}
# How carriers say that it is over. Who ended a call on purpose knows better than its carrier, which
# only sees one side go.
CARRIERS_REASONS = (
    "caller_hangup",
    "busy",
    "no_answer",
    "cancelled",
    "carrier_error",
    "lost",
)
END_REASONS = (
    *CARRIERS_REASONS,
    "agent_hangup",
    "api_hangup",
    "transferred",
    "voicemail",
    "max_duration",
    "max_turns",
    "token_limit",
    "silence",
    "closed",
    "concurrency_limit",
    "spend_cap",
    "tenant_suspended",
    "number_inactive",
    "declined",
    "invalid_number",
    "model_error",
)


@dataclass(frozen=True)
class State:
    """Where a call is. Times are aware; reasons are set once it is over."""

    status: str
    started_at: datetime
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    end_detail: str | None = None

    @property
    def duration_seconds(self) -> int | None:
        """From answered to ended; None while either is unknown."""
        if self.answered_at is None or self.ended_at is None:
            return None
        return max(0, round((self.ended_at - self.answered_at).total_seconds()))


def of(events: Sequence[CallEvent]) -> State:
    """The state of a call of which these events are known; at least one."""
    state = State("queued", started_at=events[0].timestamp)
    for event in events:
        state = after(state, event)
    return state


def after(state: State, event: CallEvent) -> State:
    """The state with one more event known; a terminal state never becomes a live one."""
    reached = REACHES[event.event_type]
    state = replace(state, status=max(state.status, reached, key=RANKS.__getitem__))
    if event.event_type in ("INITIATED", "RINGING"):
        state = replace(state, started_at=min(state.started_at, event.timestamp))
    elif event.event_type == "ANSWERED":
        state = replace(state, answered_at=_earlier(state.answered_at, event.timestamp))
    else:
        state = _ended(state, event)
    if state.status == "failed" and state.answered_at is not None:
        state = replace(state, status="completed")
    return state


def _ended(state: State, event: CallEvent) -> State:
    told = (event.end_reason or "lost", event.end_detail)
    known = (state.end_reason, state.end_detail)
    reason, detail = told if known[0] is None else min(known, told, key=_precedence)
    return replace(
        state,
        ended_at=_earlier(state.ended_at, event.timestamp),
        end_reason=reason,
        end_detail=detail,
    )


def _precedence(told: tuple[str | None, str | None]) -> tuple[bool, str, str]:
    reason, detail = told
    return reason in CARRIERS_REASONS, reason or "", detail or ""


def _earlier(known: datetime | None, told: datetime) -> datetime:
    return told if known is None else min(known, told)
