"""Tests of the validation and masking of E.164 numbers."""

import re
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vca.kit import phone
from vca.kit.number_ranges import parse_ranges

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


# --- Added ranges ------------------------------------------------------------------------------


ADDED_RANGES = parse_ranges("+1924=US, +521=MX, +85245=HK")


@pytest.mark.parametrize(
    ("number", "country"),
    [("+19245550123", "US"), ("+5215512345678", "MX"), ("+85245450000", "HK")],
)
def test_a_number_of_an_added_range_is_a_line_of_its_country(number: str, country: str) -> None:
    assert phone.is_valid(number, ADDED_RANGES)
    assert phone.range_country(number, ADDED_RANGES) == country

    assert phone.is_e164(number)
    assert not phone.is_valid(number)
    assert phone.range_country(number) is None


@pytest.mark.parametrize(
    "number",
    [
        "+1924555012",  # too short
        "+192455501234",  # too long
        "+52155123456",
        "+19255550123",  # libphonenumber knows it
        "+19002345678",
        "+18375550123",
        "+2101234567",
        "19245550123",
    ],
)
def test_no_other_number_is_in_an_added_range(number: str) -> None:
    assert phone.range_country(number, ADDED_RANGES) is None


# --- Twins and national forms ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "spelling"),
    [
        ("+5215512345678", "+525512345678"),  # Mexico
        ("+5491123456789", "+541123456789"),  # Buenos Aires
        ("+5492214567890", "+542214567890"),  # La Plata
        ("+5511987654321", "+551187654321"),  # São Paulo
        ("+5521961234567", "+552161234567"),  # Rio de Janeiro
        ("+5571999990000", "+557199990000"),  # Salvador
    ],
)
def test_both_spellings_of_a_mobile_number_are_twins(number: str, spelling: str) -> None:
    assert phone.twins(number) == phone.twins(spelling) == {number, spelling}
    assert phone.national_forms(number) == phone.national_forms(spelling)


@pytest.mark.parametrize(
    "number",
    [
        "+14155550100",
        "+551131234567",  # a landline in São Paulo
        "+5511951234567",  # a mobile; 11 5123-4567 would be somebody's landline
        "+5520987654321",  # no area code
        "+548005550123",  # freephone
        "+5216012345",  # too short
        "+52155123456789",  # too long
        "+2101234567",  # an unknown country code
        "+99912345678",
    ],
)
def test_any_other_number_has_no_twin(number: str) -> None:
    assert phone.twins(number) == {number}


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.from_regex(r"\A\+(?:52|54|55)1?9?[0-9]{8,11}\Z"))
def test_twins_are_twins_of_each_other(number: str) -> None:
    twins = phone.twins(number)

    assert number in twins
    assert len(twins) <= 2
    for spelling in twins:
        assert phone.is_e164(spelling) or not phone.is_e164(number)
        assert phone.twins(spelling) == twins


@pytest.mark.parametrize(
    ("number", "forms"),
    [
        ("+14155550100", {"4155550100"}),
        ("+19245550123", {"9245550123"}),
        ("+442079460958", {"2079460958"}),  # 020 7946 0958
        ("+79123456789", {"9123456789", "89123456789"}),  # 8 (912) 345-67-89
        ("+5215512345678", {"5512345678"}),
        ("+541123456789", {"1123456789", "91123456789", "111523456789"}),  # 011 15-2345-6789
        ("+551187654321", {"1187654321", "11987654321"}),
        ("+2101234567", set()),
        ("+99912345678", set()),
    ],
)
def test_national_forms_are_the_digits_as_they_are_written_at_home(
    number: str, forms: set[str]
) -> None:
    assert phone.national_forms(number) == forms
