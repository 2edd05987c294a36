"""Every status that Twilio has for a call or a leg, and what it means to a call."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vca.telephony.types import CallEvent, EventType, LegOutcome

# `initiated` is told by callbacks only, `queued` by the API only. Which side hung up is not told.
STATUSES: Mapping[str, tuple[EventType, str | None]] = {
    "queued": ("INITIATED", None),
    "initiated": ("INITIATED", None),
    "ringing": ("RINGING", None),
    "in-progress": ("ANSWERED", None),
    "completed": ("ENDED", "caller_hangup"),
    "busy": ("FAILED", "busy"),
    "no-answer": ("FAILED", "no_answer"),
    "canceled": ("FAILED", "cancelled"),
    "failed": ("FAILED", "carrier_error"),
}
LEG_OUTCOMES: Mapping[str, LegOutcome] = {
    "answered": "answered",
    "completed": "answered",
    "busy": "busy",
    "no-answer": "no_answer",
    "canceled": "cancelled",
    "failed": "failed",
}


def call_event(
    status: str, call_sid: str, *, timestamp: datetime, detail: str | None = None
) -> CallEvent:
    """A call's change to this status, always under the same key.

    A status that is new to us is recorded in its own word, as an event that moves no call.
    """
    if status not in STATUSES:
        return _unknown_status_event(status, call_sid, timestamp)
    event_type, end_reason = STATUSES[status]
    return CallEvent(
        event_type,
        call_sid,
        timestamp,
        event_key(status, call_sid),
        end_reason=end_reason,
        end_detail=detail if end_reason else None,
    )


def event_key(status: str, call_sid: str) -> str:
    """What identifies a status among its call's."""
    return f"{status}-{call_sid}"


def has_ended(status: str) -> bool:
    """Whether a call of this status has ended."""
    return STATUSES.get(status, ("", None))[1] is not None


def leg_outcome(status: str) -> LegOutcome:
    """What became of a leg; one whose status is new to us did not succeed, and we go on."""
    return LEG_OUTCOMES.get(status, "failed")


def _unknown_status_event(status: str, call_sid: str, timestamp: datetime) -> CallEvent:
    details: Mapping[str, Any] = {"carrier_status": status}
    return CallEvent("INITIATED", call_sid, timestamp, event_key(status, call_sid), details=details)
