"""What is not kept of a conversation, in all the ways in which it is said."""

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
    "said",
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
    ],
)
def test_a_card_number_is_not_kept_however_it_is_said(said: str) -> None:
    assert (
        CARDS.redact_text(f"My card is {said}, thanks") == f"My card is {CARD_REPLACEMENT}, thanks"
    )


@pytest.mark.parametrize(
    "said",
    [
        "4111 1111 1111 1",
        "call me at 415 555 0123",
        "order 123456",
        "0000 0000 0000 0000",
        "one of you, two at most",
        "4111 1111 or 1111 1111",
        "s\u0131x s\u0130x \u017fix",
    ],
)
def test_what_is_no_card_number_is_kept(said: str) -> None:
    assert CARDS.redact_text(said) == said


def test_a_card_number_is_found_among_other_digits() -> None:
    assert CARDS.redact_text("4111111111111111 12/27") == f"{CARD_REPLACEMENT} 12/27"
    assert CARDS.redact_text("it is 7, 5500 0000 0000 0004") in (
        f"it is 7, {CARD_REPLACEMENT}",
        f"it is {CARD_REPLACEMENT}",
    )


@pytest.mark.parametrize(
    "said",
    [
        "jane.doe+dentist@example.co.uk",
        "J\u00fcrgen@m\u00fcller.de",
        "jane dot doe at example dot com",
        "Jane underscore doe at my dash clinic dot co dot uk",
    ],
)
def test_an_email_address_is_not_kept_however_it_is_said(said: str) -> None:
    assert EMAILS.redact_text(f"Write to: {said}. Bye") == f"Write to: {EMAIL_REPLACEMENT}. Bye"


def test_what_is_no_email_address_is_kept() -> None:
    said = "Meet me at noon @ the office, dot your i's"

    assert EMAILS.redact_text(said) == said


@pytest.mark.parametrize(
    ("mask", "said", "kept"),
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
def test_a_mask_says_what_is_not_kept(mask: str, said: str, kept: str) -> None:
    assert Redaction(patterns=(mask,)).redact_text(said) == kept


def test_documents_are_redacted_in_all_of_their_texts() -> None:
    both = Redaction(card_numbers=True, email_addresses=True)

    kept = both.redact_value({"a": ["4111111111111111", 7, None], "b": {"c": "x@example.com"}})

    assert kept == {"a": [CARD_REPLACEMENT, 7, None], "b": {"c": EMAIL_REPLACEMENT}}


def test_a_profile_without_redaction_keeps_all() -> None:
    assert from_profile(None) is from_profile({}) is NO_REDACTION
    assert NO_REDACTION.redact_text("4111111111111111") == "4111111111111111"


@pytest.mark.parametrize(
    "piece", ["1 ", "1", "a.", "a dot ", "a at ", "a@", "a@a.", "one ", "- ", "w" * 60 + " dot "]
)
def test_no_text_keeps_a_call_waiting(piece: str) -> None:
    """With an expression that takes more than in proportion, this would take hours."""
    everything = Redaction(True, True, ("# # # # # # # # # # # # # # # #", "@@@@@@@@"))

    assert everything.redact_text(piece * 50_000)
