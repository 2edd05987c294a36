"""Text on its way to a voice."""

from collections.abc import Iterator

import pytest

from vca.conversation import spoken


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Hello.", "Hello."),
        ("  two\n\tlines \r\n", "two lines"),
        ("nul\x00 bell\x07 delete\x7f next\x85line", "nul bell delete next line"),
        ("half a pair \ud83d", "half a pair"),
        ("a pair in two pieces \ud83d\ude00", "a pair in two pieces 😀"),
        ("no character \ufffe\uffff\U0001ffff.", "no character ."),
        ("private \ue000 use", "private use"),
        ("right to left \u202egnirts", "right to left gnirts"),
        ("zero\u200bwidth", "zerowidth"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🚒", "👩\u200d🚒"),
        ("\x00\x1f\u200b ", ""),
        ("", ""),
    ],
)
def test_what_cannot_be_spoken_is_dropped(text: str, cleaned: str) -> None:
    assert spoken.clean(text) == cleaned


def test_a_sentence_is_handed_on_as_soon_as_it_is_complete() -> None:
    taken = []

    def pieces() -> Iterator[str]:
        for piece in ("It costs 3", ".5 dollars", ". Shall", " I", " order it?"):
            taken.append(piece)
            yield piece

    sentences = spoken.sentences(pieces())

    assert next(sentences) == "It costs 3.5 dollars."
    assert taken[-1] == ". Shall"
    assert list(sentences) == ["Shall I order it?"]


@pytest.mark.parametrize(
    "text",
    [
        'He said "yes." Then he left.',
        "Really?! Yes… no.",
        "今日は晴れです。明日は雨です。",
        "「はい。」そうです。",
        "No end",
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_sentences_joined_are_the_text_however_it_was_cut_into_pieces(text: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert spoken.joined(spoken.sentences(pieces)) == text


def test_a_stream_without_a_sentence_is_handed_on_before_it_fills_memory() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "word "

    assert len(next(spoken.sentences(endless(), longest=100))) <= 105


def test_a_text_is_cut_at_a_sentence_and_no_more_is_asked_for() -> None:
    asked = []

    def sentences() -> Iterator[str]:
        for number in range(100):
            asked.append(number)
            yield f"This is sentence number {number:02}."

    bounded = list(spoken.bounded(sentences(), max_chars=100))

    assert bounded == [f"This is sentence number {number:02}." for number in range(3)]
    assert len(spoken.joined(bounded)) <= 100
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("sentence", "cut"),
    [
        ("one two three", "one two"),
        ("one two", "one two"),
        ("one twothree", "one"),
        ("onetwothree", "onetwoth"),
    ],
)
def test_a_sentence_that_alone_is_too_long_is_cut_at_a_word(sentence: str, cut: str) -> None:
    assert next(spoken.bounded([sentence, "More."], max_chars=8)) == cut
