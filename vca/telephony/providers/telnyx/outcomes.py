"""How a call ended, in Telnyx's words and in the product's: one table for all of it."""

from dataclasses import dataclass

from vca.kit.text import clean
from vca.telephony.types import EventType, LegOutcome


@dataclass(frozen=True)
class Outcome:
    """A hang-up: what it is of a call, and what it is of the target of a transfer."""

    event_type: EventType
    end_reason: str
    leg: LegOutcome


# By `hangup_cause`. Whether the call was ever answered is the record's to know, and it makes ENDED
# of a FAILED one that was. That we hung up ourselves is on record before Telnyx tells it.
CAUSES = {
    "normal_clearing": Outcome("ENDED", "caller_hangup", "answered"),
    "time_limit": Outcome("ENDED", "max_duration", "answered"),
    "originator_cancel": Outcome("FAILED", "cancelled", "cancelled"),
    "user_busy": Outcome("FAILED", "busy", "busy"),
    "call_rejected": Outcome("FAILED", "busy", "busy"),
    "no_answer": Outcome("FAILED", "no_answer", "no_answer"),
    "timeout": Outcome("FAILED", "no_answer", "no_answer"),
    "not_found": Outcome("FAILED", "invalid_number", "failed"),
    "unspecified": Outcome("FAILED", "carrier_error", "failed"),
}
# Nobody has told us why: what `look_up` finds of a call whose hang-up Telnyx shows no more.
LOST = Outcome("FAILED", "lost", "failed")
# Of a call whose answering has not come to us: nobody spoke, however politely it was cleared.
_UNANSWERED = {
    "ring": Outcome("FAILED", "cancelled", "cancelled"),
    "dial": Outcome("FAILED", "no_answer", "no_answer"),
}
_LONGEST_DETAIL = 64


def of(cause: str, *, phase: str = "") -> Outcome:
    """What a hang-up by this cause is; a cause that is new to us is over all the same."""
    found = CAUSES.get(cause, CAUSES["unspecified"])
    return _UNANSWERED.get(phase, found) if cause == "normal_clearing" else found


def detail(cause: str) -> str | None:
    """The cause as it is kept on record."""
    return clean(cause, longest=_LONGEST_DETAIL) or None
