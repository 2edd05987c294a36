"""How a call ended, in Telnyx's words and in the product's: one table for all of it."""

from dataclasses import dataclass

from vca.kit.text import sanitize
from vca.telephony.types import EventType, LegOutcome


@dataclass(frozen=True)
class HangupOutcome:
    """A hang-up: what it is of a call, and what it is of the target of a transfer."""

    event_type: EventType
    end_reason: str
    leg: LegOutcome


# By `hangup_cause`. Whether the call was ever answered is the record's to know, and it makes ENDED
# of a FAILED one that was. That we hung up ourselves is on record before Telnyx tells it.
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
# Nobody has told us why: what `look_up` finds of a call whose hang-up Telnyx shows no more.
LOST = HangupOutcome("FAILED", "lost", "failed")
# Of a call whose answering has not come to us: nobody spoke, however politely it was cleared.
_UNANSWERED = {
    "ring": HangupOutcome("FAILED", "cancelled", "cancelled"),
    "dial": HangupOutcome("FAILED", "no_answer", "no_answer"),
}
_MAX_CAUSE_CHARS = 64


def hangup_outcome(cause: str, *, phase: str = "") -> HangupOutcome:
    """What a hang-up by this cause is; a cause that is new to us is over all the same."""
    outcome = OUTCOMES_BY_CAUSE.get(cause, OUTCOMES_BY_CAUSE["unspecified"])
    return _UNANSWERED.get(phase, outcome) if cause == "normal_clearing" else outcome


def clean_cause(cause: str) -> str | None:
    """The cause as it is kept on record."""
    return sanitize(cause, max_length=_MAX_CAUSE_CHARS) or None
