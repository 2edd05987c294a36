"""Tests of DataSubject: a number is found in all of its spellings."""

from typing import Any

import pytest

from vca.tenant.privacy.data_subject import DataSubject

SUBJECT = DataSubject("+442079460018")
MATCHING_TEXTS = (
    "+442079460018",
    "442079460018",
    "00442079460018",
    "011442079460018",
    "call +44 20 7946 0018 now",
    "call +44 (0)20 7946 0018 now",
    "tel:+44-20-7946-0018;",
    "020 7946 0018",
    "(020) 7946-0018",
    "x442079460018y",
    "2079460018",
    "44 20 then 7946 0018",
    "020, 7946, 0018",
    "oh two oh, seven nine four six, double oh one eight",
    "plus forty-four twenty seventy-nine forty-six zero zero eighteen",
    "null zwanzig neunundsiebzig sechsundvierzig null null achtzehn",
)
OTHER_TEXTS = (
    "",
    "442079460019",
    "1442079460018",
    "4420794600180",
    "79460018",
    "0018",
    "5ca1ab1e-0000-4000-8000-0000000000ff",
)


@pytest.mark.parametrize("value", MATCHING_TEXTS)
def test_a_number_is_removed_from_a_text(value: str) -> None:
    scrubbed = SUBJECT.scrub(value)

    assert "0018" not in scrubbed
    assert "eight" not in scrubbed
    assert "[erased]" in scrubbed
    assert SUBJECT.scrub(scrubbed) == scrubbed


@pytest.mark.parametrize("value", OTHER_TEXTS)
def test_another_number_is_not_removed(value: str) -> None:
    assert SUBJECT.scrub(value) == value


def test_the_rest_of_a_text_stays() -> None:
    text = "Call (+44) 20, 7946, double oh one eight, or 020 7946 0019."

    assert SUBJECT.scrub(text) == "Call [erased], or 020 7946 0019."


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"to": "+442079460018", "n": 7}, {"to": "[erased]", "n": 7}),
        ({"+442079460018": [442079460018, True, None]}, {"[erased]": ["erased", True, None]}),
        ('{"to":"+442079460018","n":442079460018}', '{"to":"[erased]","n":"erased"}'),
        ("{not a document} 02079460018", "{not a document} [erased]"),
    ],
)
def test_a_number_is_removed_from_documents(document: Any, expected: Any) -> None:
    assert SUBJECT.scrub(document) == expected


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("+442079460018", True),
        ("020 7946 0018", True),
        ("0044 20 79460018", True),
        ("oh two oh seven nine four six oh oh one eight", True),
        ("call 020 7946 0018", False),
        ("020 7946 0019", False),
        ("", False),
    ],
)
def test_a_text_equals_the_number_only_without_other_words(spelling: str, expected: bool) -> None:
    assert SUBJECT.equals_number(spelling) is expected


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("5401234 and +3545401234", "[erased] and [erased]"),
        ("I said 540, 1234!", "I said [erased]!"),
        ("ring on five four oh, one two three four", "ring on [erased]"),
        ("either 540 1234 or 555 0000 and 540 1234", "either [erased] or 555 0000 and [erased]"),
        ("415 540 1234", None),
        ("540 1234, 99", None),
        ("four one five, five four zero, one two three four", None),
    ],
)
def test_a_national_number_of_seven_digits_is_removed_where_it_stands_alone(
    text: str, scrubbed: str | None
) -> None:
    """Otherwise it would be removed from the middle of other people's numbers."""
    assert DataSubject("+3545401234").scrub(text) == (scrubbed or text)


def test_a_national_number_of_six_digits_is_removed_only_with_its_country_code() -> None:
    subject = DataSubject("+299321000")

    assert subject.scrub("321000 and 299 32 10 00") == "321000 and [erased]"


@pytest.mark.parametrize("number", ["+99912345678", "+2101234567"])
def test_a_number_of_no_country_is_removed_by_its_digits(number: str) -> None:
    subject = DataSubject(number)

    assert subject.scrub(f"{number}, {' '.join(number[1:])}") == "[erased], [erased]"
    assert subject.spellings == [number[1:]]


@pytest.mark.parametrize(
    ("number", "dialled"),
    [
        ("+74951234567", "8 495 123 45 67"),
        ("+36201234567", "06 20 123 4567"),
        ("+14155550123", "1 415 555 0123"),
        ("+14155550123", "14155550123"),
        ("+33612345678", "zéro six douze trente-quatre cinquante-six soixante-dix-huit"),
        ("+390612345678", "zero sei, dodici, trentaquattro, cinquantasei, settantotto"),
    ],
)
def test_a_number_is_removed_as_it_is_dialled_in_its_country(number: str, dialled: str) -> None:
    scrubbed = DataSubject(number).scrub(f"my number: {dialled}")

    assert scrubbed == "my number: [erased]"
