"""Redaction of card numbers, e-mail addresses and patterns, in all the ways of saying them."""

import pytest

from vca.conversation.redaction import (
    CARD_REPLACEMENT,
    EMAIL_REPLACEMENT,
    NO_REDACTION,
    PATTERN_REPLACEMENT,
    Redaction,
    from_profile,
)

CARDS = Redaction(card_numbers=True)
EMAILS = Redaction(email_addresses=True)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111, 1111, 1111, 1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "378282246310005",
        "6011 0009 9013 9424",
        "four one one one, one one one one, one one one one, one one one one",
        "Four one one one 1111 1111 one one one one",
        "\u0664111 1111 1111 1111",
        "4111_1111_1111_1111",
        "4111\u20261111\u20261111 - 1111",
        "4111  -  1111  -  1111  -  1111",
        "forty-one eleven, eleven eleven, eleven eleven, eleven eleven",
        "four, triple one, uh, 1111 dash 1111 dash quadruple one",
        "vier eins eins eins, elf elf, elf elf, eins eins eins eins",
        "quarante et un onze onze onze onze onze onze onze",
        "viertausendeinhundertelf elf elf elf elf elf elf",
        "\u56db\u5e7a\u5e7a\u5e7a 1111 1111 1111",
    ],
)
def test_a_card_number_is_redacted_in_every_spelling(text: str) -> None:
    assert (
        CARDS.redact_text(f"My card is {text}, thanks") == f"My card is {CARD_REPLACEMENT}, thanks"
    )


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1",
        "call me at 415 555 0123",
        "order 123456",
        "0000 0000 0000 0000",
        "one of you, two at most",
        "4111 1111 or 1111 1111",
        "s\u0131x s\u0130x \u017fix",
        "I went to one of two, for an hour or two, on to do one for you too, at one to two",
        "2026-11-30 11:02:51 and 2026-11-30 12:02:51",
        "vierzig Euro f\u00fcnf, am elften elften um elf Uhr elf, zwei oder drei",
    ],
)
def test_digits_that_are_no_card_number_are_not_redacted(text: str) -> None:
    assert CARDS.redact_text(text) == text


def test_a_card_number_next_to_other_digits_is_redacted() -> None:
    assert CARDS.redact_text("4111111111111111 12/27") == f"{CARD_REPLACEMENT} 12/27"
    assert CARDS.redact_text("it is 7, 5500 0000 0000 0004") in (
        f"it is 7, {CARD_REPLACEMENT}",
        f"it is {CARD_REPLACEMENT}",
    )


@pytest.mark.parametrize(
    "text",
    [
        "jane.doe+dentist@example.co.uk",
        "J\u00fcrgen@m\u00fcller.de",
        "jane dot doe at example dot com",
        "Jane underscore doe at my dash clinic dot co dot uk",
    ],
)
def test_an_email_address_is_redacted_in_every_spelling(text: str) -> None:
    assert EMAILS.redact_text(f"Write to: {text}. Bye") == f"Write to: {EMAIL_REPLACEMENT}. Bye"


def test_text_that_is_no_email_address_is_not_redacted() -> None:
    text = "Meet me at noon @ the office, dot your i's"

    assert EMAILS.redact_text(text) == text


@pytest.mark.parametrize(
    ("mask", "text", "redacted_text"),
    [
        ("###-##-####", "It is 078-05-1120.", f"It is {PATTERN_REPLACEMENT}."),
        (
            "### ## ####",
            "It is 078051120, 078 05 1120",
            f"It is {PATTERN_REPLACEMENT}, {PATTERN_REPLACEMENT}",
        ),
        ("ab@#", "Abz7 and abz78 and xabz7", f"{PATTERN_REPLACEMENT} and abz78 and xabz7"),
        ("(.*)", "nothing (.*) more", "nothing (.*) more".replace("(.*)", PATTERN_REPLACEMENT)),
    ],
)
def test_text_that_matches_a_mask_is_redacted(mask: str, text: str, redacted_text: str) -> None:
    assert Redaction(patterns=(mask,)).redact_text(text) == redacted_text


@pytest.mark.parametrize(
    "text",
    [
        "415 555 0123",
        "415, 555, 0123",
        "4 1 5, 5 5 5, 0 1 2 3",
        "four one five five five five zero one two three",
        "415 555 oh 123",
        "415  -  555  -  0123",
        "415_555_0123",
        "415\u2026555\u20260123",
        "\uff14\uff11\uff15 \uff15\uff15\uff15 \uff10\uff11\uff12\uff13",
        "\u0664\u0661\u0665 \u0665\u0665\u0665 \u0660\u0661\u0662\u0663",
        "415) 555-0123",
        "four fifteen, triple five, oh one, twenty-three",
        "vier eins f\u00fcnf, f\u00fcnfhundertf\u00fcnfundf\u00fcnfzig, null eins dreiundzwanzig",
    ],
)
def test_a_mask_of_digits_matches_every_spelling_of_speech_recognition(text: str) -> None:
    redaction = Redaction(patterns=("### ### ####",))

    redacted_text = redaction.redact_text(f"My number is {text}. Born 1980.")

    assert redacted_text == f"My number is {PATTERN_REPLACEMENT}. Born 1980."


@pytest.mark.parametrize(
    ("mask", "text", "redacted_text"),
    [
        ("####", "my pin is one two three four, ok", f"my pin is {PATTERN_REPLACEMENT}, ok"),
        ("####", "twelve, thirty", "twelve, thirty"),
        ("####", "items 12, 30 and 45", "items 12, 30 and 45"),
        ("####", "four one five five five five zero one two three", None),
        ("####", "one on one, at one to two", None),
        (
            "12##",
            "one two three four and four three two one",
            f"{PATTERN_REPLACEMENT} and four three two one",
        ),
        ("#########", "zero seven eight, oh five, one one two zero", PATTERN_REPLACEMENT),
        ("@@####", "a b one two three four", None),
    ],
)
def test_a_mask_of_digits_matches_whole_numbers_only(
    mask: str, text: str, redacted_text: str | None
) -> None:
    assert Redaction(patterns=(mask,)).redact_text(text) == (redacted_text or text)


def test_all_texts_of_a_document_are_redacted() -> None:
    redaction = Redaction(card_numbers=True, email_addresses=True)

    redacted_value = redaction.redact_value(
        {"a": ["4111111111111111", 7, None], "b": {"c": "x@example.com"}}
    )

    assert redacted_value == {"a": [CARD_REPLACEMENT, 7, None], "b": {"c": EMAIL_REPLACEMENT}}


def test_a_profile_without_redaction_redacts_nothing() -> None:
    assert from_profile(None) is from_profile({}) is NO_REDACTION
    assert NO_REDACTION.redact_text("4111111111111111") == "4111111111111111"


@pytest.mark.parametrize(
    "unit", ["1 ", "1", "a.", "a dot ", "a at ", "a@", "a@a.", "one ", "- ", "w" * 60 + " dot "]
)
def test_redaction_of_a_long_repetitive_text_is_fast(unit: str) -> None:
    """With a regular expression that backtracks, this would take hours."""
    redaction = Redaction(True, True, ("# # # # # # # # # # # # # # # #", "@@@@@@@@"))

    assert redaction.redact_text(unit * 50_000)
