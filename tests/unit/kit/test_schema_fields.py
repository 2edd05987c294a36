"""Tests of the fields for names and numbers."""

import marshmallow
import pytest

from vca.kit.web.schema import diallable_number, e164, not_blank

# Texts without a visible character.
BLANK = {
    "nothing": "",
    "spaces": "  \t\n",
    "no-break space": "\u00a0",
    "ideographic space": "\u3000",
    "zero-width space": "\u200b",
    "joiners": "\u200c\u200d\u2060",
    "a byte order mark": "\ufeff",
    "a soft hyphen": "\u00ad",
    "directions": "\u200e\u200f\u202a\u202e\u2066\u2069",
    "a line separator": "\u2028",
    "control characters": "\x01\x1f\x7f",
    "Hangul fillers": "\u115f\u1160\u3164\uffa0",
    "a Braille blank": "\u2800",
    "a variation selector": "\ufe0f",
    "a combining mark alone": "\u0301",
    "language tags": "\U000e0041\U000e007f",
}


@pytest.mark.parametrize("text", BLANK.values(), ids=BLANK)
def test_a_text_without_a_visible_character_is_blank(text: str) -> None:
    with pytest.raises(marshmallow.ValidationError, match="Must not be blank"):
        not_blank(text)

    not_blank(f"{text}x{text}")


@pytest.mark.parametrize(
    "text", ["a", "7", "-", "é", "e\u0301", "名", "ا", "क", "🚑", "👩\u200d🚒", "☎", "⠿"]
)
def test_a_text_with_a_visible_character_is_not_blank(text: str) -> None:
    not_blank(text)


@pytest.mark.parametrize("number", ["+19245550123", "+2101234567", "+5215512345678"])
def test_a_number_needs_a_numbering_plan_only_to_be_dialled(number: str) -> None:
    assert e164().deserialize(number) == number
    with pytest.raises(marshmallow.ValidationError, match="no numbering plan has it"):
        diallable_number().deserialize(number)


@pytest.mark.parametrize("text", ["14155550100", " 14155550100", "4155550100"])
def test_a_number_without_its_plus_is_refused_with_a_hint(text: str) -> None:
    for field in (e164(), diallable_number()):
        with pytest.raises(marshmallow.ValidationError, match=r"write the \+ as %2B"):
            field.deserialize(text)
