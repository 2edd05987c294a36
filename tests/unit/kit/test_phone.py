"""One strict spelling of telephone numbers."""

import re
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vca.kit import phone

GOOD = [
    "+14155550100",
    "+442079460958",
    "+4930901820",
    "+33142685300",
    "+81312345678",
    "+390612345",
]
BAD = {
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
UNKNOWN_TO_THE_PLAN = ["+10000000000", "+19995550100", "+999123456789", "+441", "+4400000000000"]


@pytest.mark.parametrize("number", GOOD)
def test_a_number_of_a_plan_is_valid(number: str) -> None:
    assert phone.is_e164(number)
    assert phone.is_valid(number)


@pytest.mark.parametrize("kind", BAD)
def test_another_spelling_is_not(kind: str) -> None:
    assert not phone.is_e164(BAD[kind])
    assert not phone.is_valid(BAD[kind])


@pytest.mark.parametrize("number", UNKNOWN_TO_THE_PLAN)
def test_a_number_that_no_plan_knows_is_not_valid(number: str) -> None:
    assert not phone.is_valid(number)


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=30) | st.from_regex(r"\+[0-9\u0660-\u0669\uff10-\uff19]{5,17}[\s;x]?"))
def test_whatever_the_text_the_answer_is_yes_only_for_ascii_e164(text: str) -> None:
    spelt = re.fullmatch(r"\+[1-9][0-9]{6,14}", text) is not None and text.isascii()

    assert phone.is_e164(text) is spelt
    assert not phone.is_valid(text) or spelt


@pytest.mark.parametrize("piece", ["-", "+", "1", "+1", "(", ".", " ", "\u0660", "x1"])
def test_no_text_takes_long(piece: str) -> None:
    flood = "+1" + piece * 100_000
    began = process_time()

    assert not phone.is_valid(flood)

    assert process_time() - began < 0.05


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+14155550100", "+14•••0100"),
        ("+4420794609", "+44•••4609"),
        ("1234567", "•••"),
        ("", "withheld"),
        (None, "withheld"),
    ],
)
def test_a_masked_number_keeps_its_ends(number: str | None, shown: str) -> None:
    assert phone.mask(number) == shown
