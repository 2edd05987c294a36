"""All call and leg statuses of Twilio, and what each means for a call."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vca.telephony.types import CallEvent, EventType, LegOutcome

# Only callbacks report `initiated`, only the API reports `queued`. Neither says who hung up.
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
    """Return the event of a call's change to this status, always with the same key.

    A status that we do not know is recorded under its own name, in an event that does not change
    the call's state.
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
    """Return the key of a status event, unique within its call."""
    return f"{status}-{call_sid}"


def has_ended(status: str) -> bool:
    """Return whether a call with this status has ended."""
    return STATUSES.get(status, ("", None))[1] is not None


def leg_outcome(status: str) -> LegOutcome:
    """Return the outcome of a leg. An unknown status counts as failed, and the call continues."""
    return LEG_OUTCOMES.get(status, "failed")


def _unknown_status_event(status: str, call_sid: str, timestamp: datetime) -> CallEvent:
    details: Mapping[str, Any] = {"carrier_status": status}
    return CallEvent("INITIATED", call_sid, timestamp, event_key(status, call_sid), details=details)
