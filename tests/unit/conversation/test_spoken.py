"""Text on its way to a voice."""

from collections.abc import Iterator

import pytest

from vca.conversation import speech_text


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
    assert speech_text.clean_text(text) == cleaned


def clauses(*pieces: str, longest: int = speech_text.MAX_CHARS) -> list[str]:
    made = speech_text.SentenceChunker(max_chars=longest)
    return [*(clause for piece in pieces for clause in made.add_chunk(piece)), *made.finish()]


def test_a_sentence_is_handed_on_as_soon_as_it_is_complete() -> None:
    made = speech_text.SentenceChunker()

    pieces = ("It costs 3", ".5 dollars", ". Shall", " I", " order it?")
    assert [list(made.add_chunk(piece)) for piece in pieces] == [
        [],
        [],
        ["It costs 3.5 dollars."],
        [],
        [],
    ]
    assert list(made.finish()) == ["Shall I order it?"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "We are open from nine to five, and on Saturdays too.",
            ["We are open from nine to five,", "and on Saturdays too."],
        ),
        (
            "That is a thing we cannot do; please call again - tomorrow morning.",
            ["That is a thing we cannot do;", "please call again - tomorrow morning."],
        ),
        (
            "You will find the house behind the church — the red one.",
            ["You will find the house behind the church —", "the red one."],
        ),
        ("Yes, of course.", ["Yes, of course."]),
        ("It costs about as much as 1,000 dollars.", ["It costs about as much as 1,000 dollars."]),
        (
            "営業時間は月曜日から金曜日までで、土曜日は休みです。",
            ["営業時間は月曜日から金曜日までで、", "土曜日は休みです。"],
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_long_sentence_is_handed_on_by_the_clause(text: str, parts: list[str], size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert clauses(*pieces) == parts
    assert speech_text.join_chunks(parts) == text


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
def test_clauses_joined_are_the_text_however_it_was_cut_into_pieces(text: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert speech_text.join_chunks(clauses(*pieces)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<speak>Hello <break time='3s'/>there.</speak>", "Hello there."),
        ('One <Dial action="http://a.example. b">x</Dial> two.', "One x two."),
        ("**Bold** and `code`.", "Bold and code."),
        ("# A title\n- one\n* two\n> three", "A title one two three"),
        ("See [our page](https://example.com/x?y=1) now.", "See our page now."),
        ("Is 3 < 4? Yes.", "Is 3 4? Yes."),
        ("A tag that never <b", "A tag that never b"),
        ("<!-- say this. and that -->Hello.", "Hello."),
        ("<" * 50 + "b>Hi.", "Hi."),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_what_a_model_marks_up_is_said_without_the_marks(text: str, said: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert speech_text.join_chunks(clauses(*pieces)) == said


def test_what_has_no_letter_is_not_said() -> None:
    assert clauses("...", " --- ", "\n", "!?", " *** ") == []


def test_a_stream_without_a_sentence_is_handed_on_before_it_fills_memory() -> None:
    made = speech_text.SentenceChunker(max_chars=100)
    handed_on = [clause for _ in range(200) for clause in made.add_chunk("word ")]

    assert handed_on
    assert max(map(len, handed_on)) <= 105


@pytest.mark.parametrize("piece", ["x", "<", "<b", "\x00", "."])
def test_a_piece_that_completes_nothing_costs_nothing_of_what_was_before_it(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    split = speech_text._split_chunks
    monkeypatch.setattr(
        speech_text, "_split_chunks", lambda text: looked_at.append(text) or split(text)
    )
    made = speech_text.SentenceChunker(max_chars=100)

    for _ in range(1_000):
        list(made.add_chunk(piece))

    assert sum(map(len, looked_at)) <= 2 * 1_000 * len(piece)


@pytest.mark.parametrize("piece", [" ", "<b>", "</b> "])
def test_tags_and_blanks_fill_no_memory(piece: str) -> None:
    made = speech_text.SentenceChunker(max_chars=100)

    assert not [clause for _ in range(200) for clause in made.add_chunk(piece)]
    assert list(made.add_chunk("Hello there. ")) == ["Hello there."]


def test_of_a_stream_that_broke_off_only_a_whole_sentence_is_left() -> None:
    whole, half = speech_text.SentenceChunker(), speech_text.SentenceChunker()
    assert list(whole.add_chunk("We are open.")) == []
    assert list(half.add_chunk("We are open. On Mon")) == ["We are open."]

    assert list(whole.finish(truncated=True)) == ["We are open."]
    assert list(half.finish(truncated=True)) == []


def test_a_text_is_cut_at_a_sentence_and_no_more_is_asked_for() -> None:
    asked = []

    def sentences() -> Iterator[str]:
        for number in range(100):
            asked.append(number)
            yield f"This is sentence number {number:02}."

    bounded = list(speech_text.limit_chunks(sentences(), max_chars=100))

    assert bounded == [f"This is sentence number {number:02}." for number in range(3)]
    assert len(speech_text.join_chunks(bounded)) <= 100
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
    assert next(speech_text.limit_chunks([sentence, "More."], max_chars=8)) == cut
