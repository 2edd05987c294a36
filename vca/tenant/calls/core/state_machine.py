"""The state machine of a call: a pure function of its events, in any order.

Carriers deliver events late, twice and out of order. The state therefore joins all events: each
time is the earliest that was reported, the status is the one with the highest rank. Every order of
the same events, with any duplicates, ends in the same state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vca.telephony.types import CallEvent

STATUS_RANKS = {
    "queued": 0,
    "ringing": 1,
    "in_progress": 2,
    "transferring": 3,
    "failed": 4,
    "completed": 5,
}
TERMINAL = ("failed", "completed")
STATUS_AFTER_EVENT = {
    "INITIATED": "queued",
    "RINGING": "ringing",
    "ANSWERED": "in_progress",
    "ENDED": "completed",
    "FAILED": "failed",
}
# End reasons that only a carrier reports. Any other reason takes precedence: whoever ended the call
# on purpose knows why, while the carrier only sees one side hang up.
CARRIER_END_REASONS = (
    "caller_hangup",
    "busy",
    "no_answer",
    "cancelled",
    "carrier_error",
    "lost",
)
END_REASONS = (
    *CARRIER_END_REASONS,
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
    "abandoned",
)


@dataclass(frozen=True)
class LifecycleState:
    """The state of a call. Times are timezone-aware.

    The end reason is set once the call has ended.
    """

    status: str
    started_at: datetime
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    end_detail: str | None = None

    @property
    def duration_seconds(self) -> int | None:
        """Return the seconds from answer to end, or None while either is unknown."""
        if self.answered_at is None or self.ended_at is None:
            return None
        return max(0, round((self.ended_at - self.answered_at).total_seconds()))


def state_from_events(events: Sequence[CallEvent]) -> LifecycleState:
    """Return the state of a call with these events. There must be at least one."""
    state = LifecycleState("queued", started_at=events[0].timestamp)
    for event in events:
        state = next_state(state, event)
    return state


def next_state(state: LifecycleState, event: CallEvent) -> LifecycleState:
    """Return the state after one more event. A terminal state never becomes a live one."""
    new_status = STATUS_AFTER_EVENT[event.event_type]
    state = replace(state, status=max(state.status, new_status, key=STATUS_RANKS.__getitem__))
    if event.event_type in ("INITIATED", "RINGING"):
        state = replace(state, started_at=min(state.started_at, event.timestamp))
    elif event.event_type == "ANSWERED":
        state = replace(state, answered_at=_earlier(state.answered_at, event.timestamp))
    else:
        state = _apply_end(state, event)
    if state.answered_at is not None and state.ended_at is not None:
        # A call was answered before it ended, whatever two clocks of a carrier say.
        state = replace(state, answered_at=min(state.answered_at, state.ended_at))
    if state.status == "failed" and state.answered_at is not None:
        state = replace(state, status="completed")
    return state


def _apply_end(state: LifecycleState, event: CallEvent) -> LifecycleState:
    reported = (event.end_reason or "lost", event.end_detail)
    current = (state.end_reason, state.end_detail)
    reason, detail = reported if current[0] is None else min(current, reported, key=_end_precedence)
    return replace(
        state,
        ended_at=_earlier(state.ended_at, event.timestamp),
        end_reason=reason,
        end_detail=detail,
    )


def _end_precedence(end: tuple[str | None, str | None]) -> tuple[bool, str, str]:
    reason, detail = end
    return reason in CARRIER_END_REASONS, reason or "", detail or ""


def _earlier(current: datetime | None, reported: datetime) -> datetime:
    return reported if current is None else min(current, reported)
