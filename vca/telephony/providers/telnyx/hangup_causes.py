"""Map Telnyx's hangup causes to the product's outcomes, all in one table."""

from dataclasses import dataclass

from vca.kit.text import sanitize
from vca.telephony.types import EventType, LegOutcome


@dataclass(frozen=True)
class HangupOutcome:
    """What a hangup means for a call, and for the target leg of a transfer."""

    event_type: EventType
    end_reason: str
    leg: LegOutcome


# By `hangup_cause`. Only the call record knows whether the call was ever answered; it turns FAILED
# into ENDED if it was. That we hung up ourselves is recorded before Telnyx reports it.
OUTCOMES_BY_CAUSE = {
    "normal_clearing": HangupOutcome("ENDED", "caller_hangup", "answered"),
    "time_limit": HangupOutcome("ENDED", "max_duration", "answered"),
    "originator_cancel": HangupOutcome("FAILED", "cancelled", "cancelled"),
    "user_busy": HangupOutcome("FAILED", "busy", "busy"),
    "call_rejected": HangupOutcome("FAILED", "busy", "busy"),
    "no_answer": HangupOutcome("FAILED", "no_answer", "no_answer"),
    "timeout": HangupOutcome("FAILED", "no_answer", "no_answer"),
    "not_found": HangupOutcome("FAILED", "invalid_number", "failed"),
    "unspecified": HangupOutcome("FAILED", "carrier_error", "failed"),
}
# Result of `find_call_status` when Telnyx no longer lists the call's hangup event.
LOST = HangupOutcome("FAILED", "lost", "failed")
# normal_clearing before we saw `call.answered` means that the call was never answered.
_UNANSWERED = {
    "ring": HangupOutcome("FAILED", "cancelled", "cancelled"),
    "dial": HangupOutcome("FAILED", "no_answer", "no_answer"),
}
_MAX_CAUSE_CHARS = 64


def hangup_outcome(cause: str, *, phase: str = "") -> HangupOutcome:
    """Return the outcome of a hangup cause. An unknown cause ends the call as well."""
    outcome = OUTCOMES_BY_CAUSE.get(cause, OUTCOMES_BY_CAUSE["unspecified"])
    return _UNANSWERED.get(phase, outcome) if cause == "normal_clearing" else outcome


def clean_cause(cause: str) -> str | None:
    """Return the cause as it is stored with the call, or None."""
    return sanitize(cause, max_length=_MAX_CAUSE_CHARS) or None
