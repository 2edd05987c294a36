"""Parse what networks send as the caller's number."""

import re

from vca.kit.phone import is_e164
from vca.telephony.types import Caller

# Seen in practice: SIP's anonymous user, carriers' words, and those words spelt on a keypad.
_WITHHELD = {"anonymous", "restricted", "private", "withheld", "blocked", "+266696687"}
_UNAVAILABLE = {"", "unknown", "unavailable", "+7378742833", "+86282452253", "not available"}
_SCHEME = re.compile(r"\A(?:sips?|tel):", re.IGNORECASE)


def parse_caller(raw: str | None) -> Caller:
    """Return the caller from the content of a carrier's field. Never raises.

    An E.164 number is `shown`. Everything else has no number: `withheld`, `unavailable`, or `other`
    for a short code, an extension or a SIP address.
    """
    text = (raw or "").strip()
    user = _SCHEME.sub("", text).partition("@")[0]
    if is_e164(user) and user not in _WITHHELD | _UNAVAILABLE:
        return Caller(user, "shown")
    if user.lower() in _WITHHELD:
        return Caller(None, "withheld")
    if user.lower() in _UNAVAILABLE:
        return Caller(None, "unavailable")
    return Caller(None, "other")
