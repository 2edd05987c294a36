"""What Twilio's refusals and failures mean: by its own codes, else by the HTTP status.

Its sentences stay outside: they name telephone numbers.
"""

from collections.abc import Mapping

from vca.kit import json
from vca.telephony.adapter import TelephonyError

NOT_FOUND, ENDED, INVALID_NUMBER = "20404", "call-ended", "invalid-number"
_LONGEST_WAIT_S = 3600
# Codes with a name of ours, which the product decides by; all others are told as they are.
NAMES: Mapping[int, str] = {
    21211: INVALID_NUMBER,  # To is no number
    21214: INVALID_NUMBER,  # To cannot be reached
    21217: INVALID_NUMBER,  # is no valid number
    21421: INVALID_NUMBER,  # PhoneNumber is invalid
    21220: ENDED,  # the call is not in progress
}
# Codes of a 4xx that pass by themselves: too many at once, of requests and of calls.
PASSING = frozenset({10004, 20429})
_PASSING_STATUSES = frozenset({408, 425, 429})


def code_of(body: str) -> int | None:
    """Twilio's own code in the body of a refusal."""
    try:
        said = json.loads(body)
    except ValueError:  # a proxy's page
        return None
    code = said.get("code") if isinstance(said, dict) else None
    return code if isinstance(code, int) and 0 < code < 1_000_000 else None


def refused(status: int, code: int | None, headers: Mapping[str, str]) -> TelephonyError:
    """An answer that is no success. What a server failed at may have been done all the same."""
    passing = status >= 500 or status in _PASSING_STATUSES or code in PASSING
    return TelephonyError(
        f"Twilio answered {status}" + (f", code {code}" if code else ""),
        permanent=not passing,
        code=NAMES.get(code, str(code)) if code else f"http-{status}",
        retry_after_s=_wait_s(headers.get("Retry-After", "")),
        ambiguous=status >= 500,
    )


def unreadable() -> TelephonyError:
    """A success that is not JSON, or not what was asked for."""
    return TelephonyError(
        "Twilio's answer cannot be read", permanent=False, code="unreadable", ambiguous=True
    )


def unanswered(what: str, *, sent: bool) -> TelephonyError:
    """No answer came; `sent`: the request may have been received."""
    return TelephonyError(f"Twilio: {what}", permanent=False, code="no-answer", ambiguous=sent)


def _wait_s(header: str) -> int | None:
    if header.isascii() and header.isdigit() and len(header) < 10:
        return min(int(header), _LONGEST_WAIT_S)
    return None
