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
LEGS: Mapping[str, LegOutcome] = {
    "answered": "answered",
    "completed": "answered",
    "busy": "busy",
    "no-answer": "no_answer",
    "canceled": "cancelled",
    "failed": "failed",
}


def event(status: str, call_sid: str, *, at: datetime, detail: str | None = None) -> CallEvent:
    """A call's change to this status, always under the same key.

    A status that is new to us is recorded in its own word, as an event that moves no call.
    """
    if status not in STATUSES:
        return _unknown(status, call_sid, at)
    event_type, end_reason = STATUSES[status]
    return CallEvent(
        event_type,
        call_sid,
        at,
        key(status, call_sid),
        end_reason=end_reason,
        end_detail=detail if end_reason else None,
    )


def key(status: str, call_sid: str) -> str:
    """What identifies a status among its call's."""
    return f"{status}-{call_sid}"


def is_over(status: str) -> bool:
    """Whether a call of this status has ended."""
    return STATUSES.get(status, ("", None))[1] is not None


def leg(status: str) -> LegOutcome:
    """What became of a leg; one whose status is new to us did not succeed, and we go on."""
    return LEGS.get(status, "failed")


def _unknown(status: str, call_sid: str, at: datetime) -> CallEvent:
    details: Mapping[str, Any] = {"carrier_status": status}
    return CallEvent("INITIATED", call_sid, at, key(status, call_sid), details=details)
