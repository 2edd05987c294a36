"""Interpret Twilio's error responses and failures, by its own codes or else by the HTTP status.

Twilio's messages are left out, because they contain telephone numbers.
"""

from collections.abc import Mapping

from vca.kit import json
from vca.kit.backoff import parse_retry_after_s
from vca.telephony.adapter import TelephonyError

NOT_FOUND, CALL_ENDED, INVALID_NUMBER = "20404", "call-ended", "invalid-number"
_MAX_RETRY_AFTER_S = 3600
# Codes that the product acts on, with our names. All other codes are passed on unchanged.
CODE_NAMES: Mapping[int, str] = {
    21211: INVALID_NUMBER,  # To is not a number
    21214: INVALID_NUMBER,  # To cannot be reached
    21217: INVALID_NUMBER,  # not a valid number
    21421: INVALID_NUMBER,  # PhoneNumber is invalid
    21220: CALL_ENDED,  # the call is not in progress
}
# Transient codes of 4xx responses: too many concurrent requests, too many concurrent calls.
TRANSIENT_CODES = frozenset({10004, 20429})
_TRANSIENT_STATUSES = frozenset({408, 425, 429})


def parse_code(body: str) -> int | None:
    """Return Twilio's own code from the body of an error response, or None."""
    try:
        document = json.loads(body)
    except ValueError:  # for example a proxy's error page
        return None
    code = document.get("code") if isinstance(document, dict) else None
    return code if isinstance(code, int) and 0 < code < 1_000_000 else None


def error_response(status: int, code: int | None, headers: Mapping[str, str]) -> TelephonyError:
    """Return the error for an unsuccessful response.

    After a server error the operation may have been carried out.
    """
    is_transient = status >= 500 or status in _TRANSIENT_STATUSES or code in TRANSIENT_CODES
    return TelephonyError(
        f"Twilio returned {status}" + (f", code {code}" if code else ""),
        permanent=not is_transient,
        code=CODE_NAMES.get(code, str(code)) if code else f"http-{status}",
        retry_after_s=parse_retry_after_s(headers.get("Retry-After"), max_s=_MAX_RETRY_AFTER_S),
        ambiguous=status >= 500,
    )


def unreadable_response() -> TelephonyError:
    """Return the error for a success response that is not JSON or lacks the expected data."""
    return TelephonyError(
        "Twilio's response is unreadable", permanent=False, code="unreadable", ambiguous=True
    )


def no_response(reason: str, *, maybe_sent: bool) -> TelephonyError:
    """Return the error for a missing response. `maybe_sent`: Twilio may have got the request."""
    return TelephonyError(
        f"Twilio: {reason}", permanent=False, code="no-answer", ambiguous=maybe_sent
    )
