"""Parse the JSON requests of the fake carrier. Everything raises InvalidCarrierRequest."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from vca.kit import clock, json
from vca.kit.number_ranges import NumberRange
from vca.telephony.adapter import InvalidCarrierRequest
from vca.telephony.caller_id import parse_caller
from vca.telephony.types import Caller, CallEvent, LegOutcome

_KEYS = re.compile(r"[0-9*#]{0,32}", re.ASCII)
_STATUSES: Mapping[str, tuple[str, str | None]] = {
    "ringing": ("RINGING", None),
    "answered": ("ANSWERED", None),
    "completed": ("ENDED", "caller_hangup"),
    "busy": ("FAILED", "busy"),
    "no_answer": ("FAILED", "no_answer"),
    "cancelled": ("FAILED", "cancelled"),
    "failed": ("FAILED", "carrier_error"),
}


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the members of the body, which must be a JSON object; only some of them are read."""
    try:
        document = json.tolerant_loads(body)
    except json.InvalidJson as error:
        raise InvalidCarrierRequest(str(error)) from None
    if not isinstance(document, dict):
        raise InvalidCarrierRequest("the body is not a JSON object")
    return document


def text_field(fields: dict[str, Any], name: str, max_chars: int) -> str:
    """Return a text of at most `max_chars` characters; empty if it is missing or null."""
    value = fields.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > max_chars or not json.is_storable(value):
        raise InvalidCarrierRequest(f"{name} must be a string of at most {max_chars} characters")
    return value


def parse_calling_party(fields: dict[str, Any], added_ranges: Sequence[NumberRange]) -> Caller:
    """Return the caller; an odd or overlong text is no reason to reject the call."""
    value = fields.get("from")
    text = value if isinstance(value, str) else text_field(fields, "from", 0)
    return parse_caller(text, added_ranges)


def parse_keys(fields: dict[str, Any]) -> str:
    """Return the keys that the caller pressed."""
    keys = text_field(fields, "keys", 32)
    if not _KEYS.fullmatch(keys):
        raise InvalidCarrierRequest("keys must consist of 0-9, * and #")
    return keys


def parse_leg_outcome(fields: dict[str, Any]) -> LegOutcome:
    """Return how a leg ended."""
    outcome = text_field(fields, "outcome", 32)
    if outcome not in get_args(LegOutcome):
        raise InvalidCarrierRequest("unknown leg outcome")
    return outcome  # type: ignore[return-value] # one of them


def parse_status(fields: dict[str, Any], call_id: str) -> CallEvent:
    """Return the event of a status request."""
    status = text_field(fields, "status", 32)
    if status not in _STATUSES:
        raise InvalidCarrierRequest("unknown status")
    event_type, end_reason = _STATUSES[status]
    return CallEvent(
        event_type,  # type: ignore[arg-type] # from the table above
        call_id,
        _parse_time(fields),
        f"{status}-{call_id}",
        end_reason=end_reason,
        end_detail=text_field(fields, "code", 64) or None,
    )


def _parse_time(fields: dict[str, Any]) -> datetime:
    """Return the time of an event in UTC; now if the request has none."""
    text = text_field(fields, "at", 40)
    if not text:
        return clock.now()
    try:
        timestamp = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidCarrierRequest("at is not an ISO 8601 timestamp") from None
    if timestamp.tzinfo is None or not 1970 <= timestamp.year <= 9000:
        raise InvalidCarrierRequest("at must have a UTC offset and a year from 1970 to 9000")
    return timestamp.astimezone(UTC)  # Postgres rejects offsets of 16 hours or more
