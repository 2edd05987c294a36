"""Tests of the validation and masking of E.164 numbers."""

import re
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vca.kit import phone

VALID = [
    "+14155550100",
    "+442079460958",
    "+4930901820",
    "+33142685300",
    "+81312345678",
    "+390612345",
]
INVALID = {
    "empty": "",
    "no plus": "14155550100",
    "two pluses": "++14155550100",
    "a zero first": "+04155550100",
    "too short": "+123456",
    "too long": "+1234567890123456",
    "blanks": "+1 415 555 0100",
    "dashes": "+1-415-555-0100",
    "blank before": " +14155550100",
    "blank after": "+14155550100 ",
    "line end": "+14155550100\n",
    "NUL": "+14155550100\x00",
    "extension": "+14155550100;ext=1",
    "extension in words": "+14155550100 ext. 1",
    "tel": "tel:+14155550100",
    "SIP": "sip:+14155550100@example.com",
    "letters": "+1800FLOWERS",
    "Arabic digits": "+\u0661\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0660\u0660",
    "one Arabic digit": "+1415555010\u0660",
    "full-width digits": "+\uff11\uff14155550100",
    "full-width plus": "\uff0b14155550100",
    "right to left": "\u202e+14155550100",
    "zero width": "+1415\u200b5550100",
    "a byte order mark": "\ufeff+14155550100",
    "superscript": "+1415555010\u00b2",
    "SQL": "+14155550100' OR '1'='1",
}
OUTSIDE_PLANS = ["+10000000000", "+19995550100", "+999123456789", "+441", "+4400000000000"]


@pytest.mark.parametrize("number", VALID)
def test_a_number_of_a_numbering_plan_is_valid(number: str) -> None:
    assert phone.is_e164(number)
    assert phone.is_valid(number)


@pytest.mark.parametrize("kind", INVALID)
def test_other_notations_are_invalid(kind: str) -> None:
    assert not phone.is_e164(INVALID[kind])
    assert not phone.is_valid(INVALID[kind])


@pytest.mark.parametrize("number", OUTSIDE_PLANS)
def test_a_number_outside_all_numbering_plans_is_invalid(number: str) -> None:
    assert not phone.is_valid(number)


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=30) | st.from_regex(r"\+[0-9\u0660-\u0669\uff10-\uff19]{5,17}[\s;x]?"))
def test_only_e164_in_ascii_is_accepted(text: str) -> None:
    is_ascii_e164 = re.fullmatch(r"\+[1-9][0-9]{6,14}", text) is not None and text.isascii()

    assert phone.is_e164(text) is is_ascii_e164
    assert not phone.is_valid(text) or is_ascii_e164


@pytest.mark.parametrize("fragment", ["-", "+", "1", "+1", "(", ".", " ", "\u0660", "x1"])
def test_long_texts_are_checked_quickly(fragment: str) -> None:
    text = "+1" + fragment * 100_000
    started_at = process_time()

    assert not phone.is_valid(text)

    assert process_time() - started_at < 0.05


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+14155550100", "+14•••0100"),
        ("+4420794609", "+44•••4609"),
        ("1234567", "•••"),
        ("", "withheld"),
        (None, "withheld"),
    ],
)
def test_a_masked_number_shows_its_first_and_last_digits(number: str | None, expected: str) -> None:
    assert phone.mask(number) == expected
