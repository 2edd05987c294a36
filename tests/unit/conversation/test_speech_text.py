"""The text that is sent to a voice: cleaned, and split into chunks that can be spoken."""

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
def test_characters_that_cannot_be_spoken_are_removed(text: str, cleaned: str) -> None:
    assert speech_text.clean_text(text) == cleaned


def split_into_chunks(*model_chunks: str, max_chars: int = speech_text.MAX_CHARS) -> list[str]:
    chunker = speech_text.SentenceChunker(max_chars=max_chars)
    return [
        *(chunk for model_chunk in model_chunks for chunk in chunker.add_chunk(model_chunk)),
        *chunker.finish(),
    ]


def test_a_sentence_is_returned_as_soon_as_it_is_complete() -> None:
    chunker = speech_text.SentenceChunker()

    model_chunks = ("It costs 3", ".5 dollars", ". Shall", " I", " order it?")
    assert [list(chunker.add_chunk(model_chunk)) for model_chunk in model_chunks] == [
        [],
        [],
        ["It costs 3.5 dollars."],
        [],
        [],
    ]
    assert list(chunker.finish()) == ["Shall I order it?"]


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
def test_a_long_sentence_is_returned_clause_by_clause(
    text: str, parts: list[str], size: int
) -> None:
    model_chunks = [text[start : start + size] for start in range(0, len(text), size)]

    assert split_into_chunks(*model_chunks) == parts
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
def test_the_joined_chunks_are_the_text_for_every_model_chunk_size(text: str, size: int) -> None:
    model_chunks = [text[start : start + size] for start in range(0, len(text), size)]

    assert speech_text.join_chunks(split_into_chunks(*model_chunks)) == text


@pytest.mark.parametrize(
    ("text", "spoken_text"),
    [
        ("<speak>Hello <break time='3s'/>there.</speak>", "Hello there."),
        ('One <Dial action="http://a.example. b">x</Dial> two.', "One x two."),
        ("**Bold** and `code`.", "Bold and code."),
        ("# A title\n- one\n* two\n> three", "A title one two three"),
        ("See [our page](https://example.com/x?y=1) now.", "See our page now."),
        ("Is 3 < 4? Yes.", "Is 3 < 4? Yes."),
        ("A tag that never <b", "A tag that never b"),
        ("<!-- say this. and that -->Hello.", "Hello."),
        ("<" * 50 + "b>Hi.", "Hi."),
        ("<b>Bold</b>. One<br/>two.", "Bold. One two."),
        ("Fish &amp; chips &lt;3 &#39;now&#39;.", "Fish & chips 3 'now'."),
        ("Write to <info@acme.example>.", "Write to info@acme.example."),
        ("_it_ and __bold__ and *it* and ***both***.", "it and bold and it and both."),
        ("~~no~~ yes ``code`` \\*", "no yes code"),
        ("## A title ##\n- [x] one\n  - two\n> > three", "A title one two three"),
        ("| Day | Hours |\n|:--|--:|\n| Monday | 9 to 5 |", "Day, Hours Monday, 9 to 5"),
        ("One.\n\n---\n\n***\nTwo.", "One. Two."),
        ("![our logo](logo.png) and [page][1] and [^2].", "our logo and page and ."),
        ('See [it. Now](https://a.example/b_(c)?d=1 "A title") please.', "See it. Now please."),
        ("See [it](https://a.example/b c) please.", "See it please."),
        ("Great 😀! See you 👋🏽.", "Great! See you."),
        ("Fly 🇩🇪🏴󠁧󠁢󠁿 now ✈️ 👩‍🚒❤️‍🔥!", "Fly now!"),
        ("Press 1️⃣ or #️⃣ or 2.", "Press 1 or # or 2."),
        ("Acme™ © 2026 ®, 20° C, № 5.", "Acme™ © 2026 ®, 20° C, № 5."),
        ("می‌خواهم، क्‍ष।", "می‌خواهم، क्‍ष।"),
        ("2 < 3 and 5*3 and 4>2 and 6 * 7 = 42.", "2 < 3 and 5*3 and 4>2 and 6 * 7 = 42."),
        (
            "snake_case, a_b@c_d.example [sic] #1 C# 5 - 3.",
            "snake_case, a_b@c_d.example [sic] #1 C# 5 - 3.",
        ),
        ("He said [softly] yes (no).", "He said [softly] yes (no)."),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 4, 1000])
def test_markup_is_removed_from_spoken_text(text: str, spoken_text: str, size: int) -> None:
    model_chunks = [text[start : start + size] for start in range(0, len(text), size)]

    assert speech_text.join_chunks(split_into_chunks(*model_chunks)) == spoken_text


def test_emoji_of_a_text_that_no_model_wrote_are_not_spoken() -> None:
    assert list(speech_text.split_text("Hello 👋! Acme 🏢 here.")) == ["Hello!", "Acme here."]


def test_a_sentence_in_emphasis_is_returned_as_soon_as_it_is_complete() -> None:
    chunker = speech_text.SentenceChunker()

    assert list(chunker.add_chunk("**We are open.** Shall")) == ["We are open."]


def test_text_without_a_letter_is_not_spoken() -> None:
    assert split_into_chunks("...", " --- ", "\n", "!?", " *** ") == []


def test_a_stream_without_a_sentence_is_returned_in_bounded_chunks() -> None:
    chunker = speech_text.SentenceChunker(max_chars=100)
    chunks = [chunk for _ in range(200) for chunk in chunker.add_chunk("word ")]

    assert chunks
    assert max(map(len, chunks)) <= 105


@pytest.mark.parametrize("model_chunk", ["x", "<", "<b", "\x00", "."])
def test_an_incomplete_chunk_does_not_scan_the_earlier_text(
    model_chunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned_texts: list[str] = []
    split_chunks = speech_text._split_chunks

    def record_and_split(text: str) -> list[str]:
        scanned_texts.append(text)
        return split_chunks(text)

    monkeypatch.setattr(speech_text, "_split_chunks", record_and_split)
    chunker = speech_text.SentenceChunker(max_chars=100)

    for _ in range(1_000):
        list(chunker.add_chunk(model_chunk))

    assert sum(map(len, scanned_texts)) <= 2 * 1_000 * len(model_chunk)


@pytest.mark.parametrize("model_chunk", [" ", "<b>", "</b> "])
def test_tags_and_blanks_are_not_accumulated(model_chunk: str) -> None:
    chunker = speech_text.SentenceChunker(max_chars=100)

    assert not [chunk for _ in range(200) for chunk in chunker.add_chunk(model_chunk)]
    assert list(chunker.add_chunk("Hello there. ")) == ["Hello there."]


def test_a_truncated_stream_yields_only_complete_sentences() -> None:
    complete, incomplete = speech_text.SentenceChunker(), speech_text.SentenceChunker()
    assert list(complete.add_chunk("We are open.")) == []
    assert list(incomplete.add_chunk("We are open. On Mon")) == ["We are open."]

    assert list(complete.finish(truncated=True)) == ["We are open."]
    assert list(incomplete.finish(truncated=True)) == []


def test_limit_chunks_cuts_at_a_sentence_and_stops_the_source() -> None:
    generated_numbers = []

    def generate_sentences() -> Iterator[str]:
        for number in range(100):
            generated_numbers.append(number)
            yield f"This is sentence number {number:02}."

    limited_chunks = list(speech_text.limit_chunks(generate_sentences(), max_chars=100))

    assert limited_chunks == [f"This is sentence number {number:02}." for number in range(3)]
    assert len(speech_text.join_chunks(limited_chunks)) <= 100
    assert len(generated_numbers) == 4


@pytest.mark.parametrize(
    ("sentence", "expected_text"),
    [
        ("one two three", "one two"),
        ("one two", "one two"),
        ("one twothree", "one"),
        ("onetwothree", "onetwoth"),
    ],
)
def test_a_sentence_that_is_too_long_is_cut_at_a_word(sentence: str, expected_text: str) -> None:
    assert next(speech_text.limit_chunks([sentence, "More."], max_chars=8)) == expected_text
