"""What counts as saying an end phrase."""

import pytest

from vca.conversation import phrase_matching


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("goodbye", "Goodbye!"),
        ("goodbye", "OK, thanks -- GOODBYE."),
        ("That's all", "well, that’s all"),
        ("that's all", "Thats all."),
        ("no, thank you", "No thank you"),
        ("auf wiedersehen", "Auf\n  Wiedersehen"),
        ("adiós", "adio\u0301s"),
        ("STRASSE", "Straße"),
        ("bye", "\uff42\uff59\uff45"),
        ("再见", "好的，再见！"),
        ("さようなら", "では、さようなら。"),
        ("नमस्ते", "ठीक है, नमस्ते"),
        ("bye 4 now", "bye 4 now"),
    ],
)
def test_a_phrase_is_heard_whatever_its_case_marks_and_spelling(phrase: str, said: str) -> None:
    assert phrase_matching.contains_phrase(["never said", phrase], said)


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("bye", "I left it in the lobbye"),
        ("bye", "byelaws, please"),
        ("that's all", "is that all"),
        ("all done", "all is done"),
        ("नमस", "नमस्ते"),
        ("", "anything"),
        ("...", "anything ..."),
        ("goodbye", ""),
        ("", ""),
    ],
)
def test_a_part_of_a_word_or_of_a_phrase_is_not_the_phrase(phrase: str, said: str) -> None:
    assert not phrase_matching.contains_phrase([phrase], said)


def test_without_phrases_nothing_is_said() -> None:
    assert not phrase_matching.contains_phrase((), "goodbye")
