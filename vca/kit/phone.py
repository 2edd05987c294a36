"""Phone numbers in a single strict format: E.164 in ASCII."""

import re

import phonenumbers

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


def is_e164(text: str) -> bool:
    """Return whether `text` has the E.164 format; the numbering plan is not checked."""
    return _E164.fullmatch(text) is not None


def is_valid(text: str) -> bool:
    """Return whether `text` is an E.164 number that is valid in its country's numbering plan.

    The pattern is checked first, because `phonenumbers` alone accepts Arabic digits, trailing NULs
    and extensions (github.com/daviddrysdale/python-phonenumbers).
    """
    if not is_e164(text):
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        return False


def mask(number: str | None) -> str:
    """Return the number as logs may contain it: `+14•••0100`."""
    if not number:
        return "withheld"
    return f"{number[:3]}•••{number[-4:]}" if len(number) > 7 else "•••"
