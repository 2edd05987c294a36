"""Phone numbers in a single strict format: E.164 in ASCII."""

import re
from collections.abc import Sequence

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat

from vca.kit.number_ranges import NumberRange

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
# Two spellings of the same mobile line, as (pattern, template of the other). Mexico dropped the 1
# after +52 in 2019, and some carriers still send it. Argentina's mobiles have a 9 after +54 when
# they are called from abroad. Brazil put a 9 before all mobile numbers from 2012 to 2016; those of
# 8 digits began with 6 to 9, and landlines begin with 2 to 5 (Anatel, resolution 553).
_BRAZILIAN_AREA = "(?:[14689][1-9]|2[12478]|3[1-578]|5[13-5]|7[13-579])"
_MEXICAN_WITH_1 = re.compile(r"\+521[2-9][0-9]{9}", re.ASCII)
_TWINS: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern, re.ASCII), template)
    for pattern, template in (
        (r"\+521([2-9][0-9]{9})", r"+52\1"),
        (r"\+52([2-9][0-9]{9})", r"+521\1"),
        (r"\+549((?:11|[23][0-9])[0-9]{8})", r"+54\1"),
        (r"\+54((?:11|[23][0-9])[0-9]{8})", r"+549\1"),
        (rf"\+55({_BRAZILIAN_AREA})9([6-9][0-9]{{7}})", r"+55\1\2"),
        (rf"\+55({_BRAZILIAN_AREA})([6-9][0-9]{{7}})", r"+55\g<1>9\2"),
    )
]


def is_e164(text: str) -> bool:
    """Return whether `text` has the E.164 format; the numbering plan is not checked."""
    return _E164.fullmatch(text) is not None


def is_valid(text: str, added_ranges: Sequence[NumberRange] = ()) -> bool:
    """Return whether `text` is an E.164 number that is valid in its country's numbering plan.

    The plan is libphonenumber's with the added ranges.
    """
    parsed = parse(text)
    if parsed is None:
        return False
    return phonenumbers.is_valid_number(parsed) or range_country(text, added_ranges) is not None


def parse(text: str) -> PhoneNumber | None:
    """Return the parsed E.164 number, or None; it need not be valid.

    The format is checked first, because `phonenumbers` alone accepts Arabic digits, trailing NULs
    and extensions (github.com/daviddrysdale/python-phonenumbers).
    """
    if not is_e164(text):
        return None
    try:
        return phonenumbers.parse(text)
    except phonenumbers.NumberParseException:  # an unknown country code
        return None


def range_country(text: str, added_ranges: Sequence[NumberRange] = ()) -> str | None:
    """Return the country of the added range that has this number; None for every other number.

    A number that libphonenumber knows belongs to no added range, so that a premium rate number
    remains one.
    """
    parsed = parse(text)
    if parsed is None or phonenumbers.is_valid_number(parsed):
        return None
    return next((added.country for added in added_ranges if added.contains(text)), None)


def twins(number: str) -> frozenset[str]:
    """Return all E.164 spellings of the number's line, with the number itself.

    Networks deliver mobile numbers of Mexico, Argentina and Brazil in two spellings.
    """
    others = (
        pattern.sub(template, number) for pattern, template in _TWINS if pattern.fullmatch(number)
    )
    return frozenset((number, *others))


def national_forms(number: str) -> frozenset[str]:
    """Return the digits by which people in the number's country write the number.

    A leading 0, which countries use as trunk prefix, is left out. The result has the forms of all
    twins. It is empty for a number that cannot be parsed: such a number has its digits alone.
    """
    forms: set[str] = set()
    for spelling in twins(number):
        parsed = parse(spelling)
        if parsed is None or _MEXICAN_WITH_1.fullmatch(spelling):  # nobody writes that 1 at home
            continue
        forms.add(phonenumbers.national_significant_number(parsed))
        national_text = phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL)
        forms.add(re.sub("[^0-9]", "", national_text).lstrip("0"))
    return frozenset(forms)


def mask(number: str | None) -> str:
    """Return the number as logs may contain it: `+14•••0100`."""
    if not number:
        return "withheld"
    return f"{number[:3]}•••{number[-4:]}" if len(number) > 7 else "•••"
