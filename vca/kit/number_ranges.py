"""Ranges of ordinary numbers that libphonenumber does not know, from `DIALLABLE_PREFIXES`.

Numbering plans change more often than libphonenumber is released. The numbers of a range are
ordinary lines of its country. A range never changes what libphonenumber knows: a prefix under which
it knows premium rate or other special numbers is rejected.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

ORDINARY_TYPES = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
        PhoneNumberType.VOIP,
    }
)
_ENTRY = re.compile(r"(\+[1-9][0-9]{1,13})=([A-Z]{2})", re.ASCII)
_MAX_DIGITS = 15


@dataclass(frozen=True)
class NumberRange:
    """The numbers that begin with a prefix such as `+1924`, and their ISO 3166 country."""

    prefix: str
    country: str

    def __str__(self) -> str:
        return f"{self.prefix}={self.country}"

    @property
    def national_prefix(self) -> str:
        """The prefix without the country code."""
        return self.prefix[1 + len(_country_code(self.country)) :]

    def contains(self, number: str) -> bool:
        """Return whether an E.164 number is in the range and has a length of the country's numbers.

        Where the prefix stands before a national number of the usual length, as the 1 of Mexican
        mobiles did, the rest must be a valid number.
        """
        if not number.startswith(self.prefix):
            return False
        code = _country_code(self.country)
        national = number[1 + len(code) :]
        return phonenumbers.is_possible_number(
            _phone_number(code, national)
        ) or phonenumbers.is_valid_number(
            _phone_number(code, national.removeprefix(self.national_prefix))
        )


def parse_ranges(raw: str) -> tuple[NumberRange, ...]:
    """Parse entries such as `+1924=US`, separated by commas; raise ValueError with every fault."""
    ranges: list[NumberRange] = []
    faults: list[str] = []
    for position, entry in enumerate(raw.split(","), start=1):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            faults.append(f"entry {position} does not match")
            continue
        added = NumberRange(*match.groups())
        fault = _find_fault(added, ranges)
        if fault is not None:
            faults.append(fault)
        ranges.append(added)
    if faults:
        raise ValueError(
            f"must be entries such as +1924=US, separated by commas: {'; '.join(faults)}"
        )
    return tuple(ranges)


def _find_fault(added: NumberRange, earlier: Sequence[NumberRange]) -> str | None:
    """Return why the range cannot be added, or None."""
    if added.country not in phonenumbers.SUPPORTED_REGIONS:
        return f"{added} has no ISO 3166 country code"
    code = _country_code(added.country)
    if not added.prefix.startswith(f"+{code}") or not added.national_prefix:
        return f"{added} is not +{code}, the code of the country, with more digits"
    if code == "1" and added.national_prefix[0] in "01":  # a carrier could take it for 011
        return f"{added} is not an area code, which begins with 2 to 9"
    for other in earlier:
        if added.prefix.startswith(other.prefix) or other.prefix.startswith(added.prefix):
            return f"{added} overlaps {other}"
    other_use = _find_other_use(added)
    return f"{added} includes {other_use} that libphonenumber knows" if other_use else None


def _find_other_use(added: NumberRange) -> str | None:
    """Return what libphonenumber knows under the prefix besides the country's lines, or None."""
    for sample in _samples(added):
        if phonenumbers.connects_to_emergency_number(sample, added.country):
            return "emergency numbers"
        number = _phone_number(_country_code(added.country), sample)
        if not phonenumbers.is_possible_number(number) or not phonenumbers.is_valid_number(number):
            continue
        kind = phonenumbers.number_type(number)
        if kind not in ORDINARY_TYPES:
            return f"{PhoneNumberType.to_string(kind).lower().replace('_', '-')} numbers"
        region = phonenumbers.region_code_for_number(number)
        if region != added.country:
            return f"numbers of {region}"
    return None


def _samples(added: NumberRange) -> Iterator[str]:
    """Yield national numbers of every length under the prefix.

    Two more digits are tried in full, which is as deep as special ranges differ below a prefix that
    is worth adding. A special number deeper down is still rejected when it is dialled.
    """
    prefix = added.national_prefix
    longest = _MAX_DIGITS - len(_country_code(added.country))
    for missing in range(longest - len(prefix) + 1):
        width = min(2, missing)
        for digits in range(10**width):
            for fill in "05":
                yield prefix + f"{digits:0{width}d}"[:width] + fill * (missing - width)


def _country_code(country: str) -> str:
    return str(phonenumbers.country_code_for_region(country))


def _phone_number(code: str, national: str) -> PhoneNumber:
    leading_zeros = len(national) - len(national.lstrip("0"))
    return PhoneNumber(
        country_code=int(code),
        national_number=int(national or "0"),
        italian_leading_zero=leading_zeros > 0 or None,
        number_of_leading_zeros=leading_zeros if leading_zeros > 1 else None,
    )
