"""Tests of the number ranges that a deployment adds to libphonenumber's."""

import re
from contextlib import suppress

import phonenumbers
import pytest
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from vca.kit.number_ranges import NumberRange, parse_ranges


def test_entries_are_prefixes_with_their_countries() -> None:
    ranges = parse_ranges("+1924=US,+1837=CA , +521=MX")

    assert ranges == (
        NumberRange("+1924", "US"),
        NumberRange("+1837", "CA"),
        NumberRange("+521", "MX"),
    )
    assert [str(added) for added in ranges] == ["+1924=US", "+1837=CA", "+521=MX"]


@pytest.mark.parametrize(
    "prefix", ["+1837=US", "+1357=US", "+1457=US", "+1565=US", "+1471=US", "+1436=US", "+1621=US"]
)
def test_a_new_area_code_can_be_added(prefix: str) -> None:
    assert len(parse_ranges(prefix)) == 1


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (
            "1924=US",
            "must be entries such as +1924=US, separated by commas: entry 1 does not match",
        ),
        ("+1924", "entry 1 does not match"),
        ("+1924=us", "entry 1 does not match"),
        ("+1924=US,", "entry 2 does not match"),
        ("+1924=US;+1837=CA", "entry 1 does not match"),
        ("+\u0661924=US", "entry 1 does not match"),
        ("+1924=XX", "+1924=XX has no ISO 3166 country code"),
        ("+1924=DE", "+1924=DE is not +49, the code of the country, with more digits"),
        ("+44=GB", "+44=GB is not +44, the code of the country, with more digits"),
        ("+10=US", "+10=US is not an area code, which begins with 2 to 9"),
        ("+1011=US", "+1011=US is not an area code"),
        ("+1924=US,+1924=CA", "+1924=CA overlaps +1924=US"),
        ("+1924=US,+19245=US", "+19245=US overlaps +1924=US"),
        ("+1900=US", "premium-rate numbers"),
        ("+49900=DE", "premium-rate numbers"),
        ("+4990=DE", "premium-rate numbers"),
        ("+4490=GB", "premium-rate numbers"),
        ("+81990=JP", "premium-rate numbers"),
        ("+61190=AU", "premium-rate numbers"),
        ("+39899=IT", "premium-rate numbers"),
        ("+33897=FR", "premium-rate numbers"),
        ("+1800=US", "toll-free numbers"),
        ("+1500=US", "personal-number numbers"),
        ("+1911=US", "emergency numbers"),
        ("+1876=US", "numbers of JM"),  # Jamaica
        ("+1416=US", "numbers of CA"),
        ("+441481=GB", "numbers of GG"),
    ],
)
def test_an_unusable_entry_is_rejected_with_its_reason(raw: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        parse_ranges(raw)


def test_every_fault_is_reported() -> None:
    with pytest.raises(ValueError, match=r"XX has no .*; \+1900=US includes premium-rate numbers"):
        parse_ranges("+1924=XX,+1900=US,+1837=CA")


def test_a_prefix_of_premium_rate_numbers_is_rejected_in_every_country() -> None:
    accepted: list[NumberRange] = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        example = phonenumbers.example_number_for_type(region, PhoneNumberType.PREMIUM_RATE)
        if example is not None:
            number = phonenumbers.format_number(example, PhoneNumberFormat.E164)
            with suppress(ValueError):
                accepted += parse_ranges(f"{number[:-4]}={region}")

    assert accepted == []
