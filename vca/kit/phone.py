"""Telephone numbers: one strict spelling, E.164 in ASCII."""

import re

import phonenumbers

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


def is_e164(text: str) -> bool:
    """Whether `text` is spelt as an E.164 number; says nothing about the numbering plan."""
    return _E164.fullmatch(text) is not None


def is_valid(text: str) -> bool:
    """Whether `text` is an E.164 number that its country's numbering plan knows.

    The pattern goes first: `phonenumbers` alone accepts Arabic digits, trailing NULs and
    extensions (github.com/daviddrysdale/python-phonenumbers).
    """
    if not is_e164(text):
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        return False


def mask(number: str | None) -> str:
    """A number as it may stand in a log: `+14•••0100`."""
    if not number:
        return "withheld"
    return f"{number[:3]}•••{number[-4:]}" if len(number) > 7 else "•••"
