"""What Twilio's refusals and failures mean: by its own codes, else by the HTTP status.

Its sentences stay outside: they name telephone numbers.
"""

from collections.abc import Mapping

from vca.kit import json
from vca.telephony.adapter import TelephonyError

NOT_FOUND, CALL_ENDED, INVALID_NUMBER = "20404", "call-ended", "invalid-number"
_MAX_RETRY_AFTER_S = 3600
# Codes with a name of ours, which the product decides by; all others are told as they are.
CODE_NAMES: Mapping[int, str] = {
    21211: INVALID_NUMBER,  # To is no number
    21214: INVALID_NUMBER,  # To cannot be reached
    21217: INVALID_NUMBER,  # is no valid number
    21421: INVALID_NUMBER,  # PhoneNumber is invalid
    21220: CALL_ENDED,  # the call is not in progress
}
# Codes of a 4xx that pass by themselves: too many at once, of requests and of calls.
TRANSIENT_CODES = frozenset({10004, 20429})
_TRANSIENT_STATUSES = frozenset({408, 425, 429})


def parse_code(body: str) -> int | None:
    """Twilio's own code in the body of a refusal."""
    try:
        document = json.loads(body)
    except ValueError:  # a proxy's page
        return None
    code = document.get("code") if isinstance(document, dict) else None
    return code if isinstance(code, int) and 0 < code < 1_000_000 else None


def error_response(status: int, code: int | None, headers: Mapping[str, str]) -> TelephonyError:
    """An answer that is no success. What a server failed at may have been done all the same."""
    is_transient = status >= 500 or status in _TRANSIENT_STATUSES or code in TRANSIENT_CODES
    return TelephonyError(
        f"Twilio answered {status}" + (f", code {code}" if code else ""),
        permanent=not is_transient,
        code=CODE_NAMES.get(code, str(code)) if code else f"http-{status}",
        retry_after_s=_parse_retry_after_s(headers.get("Retry-After", "")),
        ambiguous=status >= 500,
    )


def unreadable_response() -> TelephonyError:
    """A success that is not JSON, or not what was asked for."""
    return TelephonyError(
        "Twilio's answer cannot be read", permanent=False, code="unreadable", ambiguous=True
    )


def no_response(reason: str, *, maybe_sent: bool) -> TelephonyError:
    """No answer came; `sent`: the request may have been received."""
    return TelephonyError(
        f"Twilio: {reason}", permanent=False, code="no-answer", ambiguous=maybe_sent
    )


def _parse_retry_after_s(header: str) -> int | None:
    if header.isascii() and header.isdigit() and len(header) < 10:
        return min(int(header), _MAX_RETRY_AFTER_S)
    return None
