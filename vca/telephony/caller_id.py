"""Parse what networks send as the number of a caller or of the called party.

`added_ranges` are the ranges that the deployment adds to the numbering plans of libphonenumber.
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from vca.kit import phone
from vca.kit.number_ranges import NumberRange
from vca.telephony.types import Caller

# Seen in practice: SIP's anonymous user, carriers' words, and those words spelt on a keypad.
_WITHHELD = {"anonymous", "restricted", "private", "withheld", "blocked", "+266696687"}
_UNAVAILABLE = {"", "unknown", "unavailable", "+7378742833", "+86282452253", "not available"}
_URI = re.compile(r"\A(?:sips?|tel):", re.IGNORECASE)
# A URI in angle brackets after a display name, which may contain brackets too (RFC 3261, 20.10).
_BRACKETED = re.compile(r"<([^<>]*)>[^<>]*\Z", re.DOTALL)
_VISUAL_SEPARATORS = re.compile(r"[-.()]")  # RFC 3966, 5.1.1
_CONTEXT = re.compile(r"[;&]phone-context=(\+[0-9.()-]{1,20})(?=[;@]|\Z)", re.IGNORECASE | re.ASCII)
_NORTH_AMERICAN = re.compile(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}", re.ASCII)
_NORTH_AMERICAN_DIGITS = 10
_MAX_CALLED_CHARS = 64


def parse_caller(raw: str | None, added_ranges: Sequence[NumberRange] = ()) -> Caller:
    """Return the caller from the content of a carrier's field. Never raises.

    An E.164 number, also in a SIP or tel URI, is `shown`. Everything else has no number:
    `withheld`, `unavailable`, or `other` for a short code, an extension or a SIP address.
    """
    user = _user_part(raw or "").lower()
    spellings = {user, f"+{user}"}  # a URI may lack the plus
    if (spellings | {_display_name(raw or "").lower()}) & _WITHHELD:
        return Caller(None, "withheld")
    if user == "" or spellings & _UNAVAILABLE:
        return Caller(None, "unavailable")
    number = parse_number(raw, added_ranges)
    return Caller(number, "shown") if number else Caller(None, "other")


def parse_number(raw: str | None, added_ranges: Sequence[NumberRange] = ()) -> str | None:
    """Return the E.164 number in a carrier's field, or None. Never raises.

    The field is a number or a SIP or tel URI, perhaps with a display name. The user part of a URI
    may lack the plus, as telephones send it: with the country code, or 10 digits of +1. It is a
    number if exactly one of these readings is.
    """
    text = raw or ""
    user = _user_part(text)
    if phone.is_e164(user):
        return user
    if not _is_uri(text):
        return None
    digits = _VISUAL_SEPARATORS.sub("", user)
    if phone.is_e164(digits):
        return digits
    if not (digits.isascii() and digits.isdigit()):
        return None
    context = _CONTEXT.search(_address(text))
    if context is not None:
        number = _VISUAL_SEPARATORS.sub("", context[1]) + digits
        return number if phone.is_e164(number) else None
    return _only_reading(digits, added_ranges)


def called_number(raw: str, added_ranges: Sequence[NumberRange] = ()) -> str:
    """Return the called number, or the beginning of the field's text, which no tenant has."""
    return parse_number(raw, added_ranges) or raw[:_MAX_CALLED_CHARS]


def _only_reading(digits: str, added_ranges: Sequence[NumberRange]) -> str | None:
    """Return the number that the digits stand for, or None if they are ambiguous or none.

    libphonenumber does not know every area code of +1, but their shape is fixed.
    """
    readings = [f"+{digits}"]
    if len(digits) == _NORTH_AMERICAN_DIGITS:
        readings.append(f"+1{digits}")
    numbers = [reading for reading in readings if phone.is_valid(reading, added_ranges)]
    numbers = numbers or [reading for reading in readings if _NORTH_AMERICAN.fullmatch(reading)]
    return numbers[0] if len(numbers) == 1 else None


def _is_uri(text: str) -> bool:
    return _URI.match(_address(text)) is not None


def _address(text: str) -> str:
    """Return the URI or number of a field without its display name."""
    bracketed = _BRACKETED.search(text)
    return (bracketed[1] if bracketed else text).strip()


def _display_name(text: str) -> str:
    """Return the name before a URI in angle brackets, or an empty text."""
    bracketed = _BRACKETED.search(text)
    return text[: bracketed.start()].strip(' "') if bracketed else ""


def _user_part(text: str) -> str:
    """Return who is addressed: of a URI the user without parameters and password, decoded."""
    address = _address(text)
    user = _URI.sub("", address).partition("@")[0]
    if _URI.match(address) is None:
        return user
    return unquote(re.split("[;?:]", user, maxsplit=1)[0]).strip()
