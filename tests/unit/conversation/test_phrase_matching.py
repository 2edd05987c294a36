"""Recognition of end phrases in what a caller says."""

import pytest

from vca.conversation import phrase_matching


@pytest.mark.parametrize(
    ("phrase", "utterance"),
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
def test_a_phrase_matches_in_any_case_punctuation_and_unicode_form(
    phrase: str, utterance: str
) -> None:
    assert phrase_matching.contains_phrase(["never said", phrase], utterance)


@pytest.mark.parametrize(
    ("phrase", "utterance"),
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
def test_a_part_of_a_word_or_of_a_phrase_does_not_match(phrase: str, utterance: str) -> None:
    assert not phrase_matching.contains_phrase([phrase], utterance)


def test_an_empty_list_of_phrases_never_matches() -> None:
    assert not phrase_matching.contains_phrase((), "goodbye")
