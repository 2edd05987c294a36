"""Tests of the filter that removes reasoning and the marks of chat templates from an answer."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vca.conversation.answer_filter import AnswerFilter, UnmarkedReasoning
from vca.conversation.llm import Reasoning
from vca.conversation.reply_text import ReplyText
from vca.conversation.speech_text import MAX_CHARS
from vca.conversation.written_block import WrittenBlock

TOOL_NAMES = ("end_call", "transfer", "take_message", "fallback")
SECRET = "zebra"
SIZES = [1, 2, 5, 10_000]


def split_text(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def read_answer(
    chunks: list[str], *, withholds: bool = False
) -> tuple[list[str], tuple[WrittenBlock, ...]]:
    """Return the spoken chunks of an answer, and the blocks that may be tool calls."""
    answer, reply = AnswerFilter(TOOL_NAMES, withholds=withholds), ReplyText()
    spoken_chunks: list[str] = []

    def speak(items: list[str | Reasoning]) -> None:
        for item in items:
            if isinstance(item, UnmarkedReasoning):
                reply.discard_pending()
            elif isinstance(item, str):
                spoken_chunks.extend(reply.add_chunk(item))

    for chunk in chunks:
        speak(answer.add(chunk))
    speak(answer.finish())
    spoken_chunks += reply.finish(truncated=False)
    return spoken_chunks, answer.blocks


def read_text(text: str, size: int = 10_000) -> str:
    return " ".join(read_answer(split_text(text, size))[0])


REASONING = [
    "<think>zebra</think>",
    "<think>\nzebra. Zebra!\n</think>\n\n",
    "<THINK>zebra</THINK>",
    "<Thinking>zebra</Thinking>",
    "<thought>zebra</thought>",
    "<reasoning>zebra</reasoning>",
    "<reflection>zebra</reflection>",
    '<think type="deep" n=1>zebra</think>',
    "<seed:think>zebra</seed:think>",
    "<mm:think>zebra</mm:think>",
    "<think>zebra <think>zebra</think> zebra</think>",
    "<think>zebra <b>zebra</b> 2 < 3 [zebra] {zebra}</think>",
    '<think>zebra <tool_call>{"name": "end_call"}</tool_call></think>',
    "<think>zebra</thinking>",
    "<think></think>",
    "<think/>",
    "[THINK]zebra[/THINK]",
    "◁think▷zebra◁/think▷",
    "<|START_THINKING|>zebra<|END_THINKING|><|START_RESPONSE|>",
    "<|begin_of_thought|>zebra<|end_of_thought|>\n<|begin_of_solution|>",
    "<|channel|>analysis<|message|>zebra<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel>thought\nzebra<channel|>",
    "analysisThe zebra.assistantfinal",
    "Here is my thought process: zebra. Here is my response: ",
    "<tool_response>zebra</tool_response>",
]


@pytest.mark.parametrize("reasoning", REASONING)
@pytest.mark.parametrize("size", SIZES)
def test_reasoning_is_not_part_of_the_answer(reasoning: str, size: int) -> None:
    assert read_text(f"{reasoning}We open at nine.", size) == "We open at nine."


@pytest.mark.parametrize(
    "reasoning", [text for text in REASONING if text[0] in "<[◁" and "zebra" in text]
)
@pytest.mark.parametrize("size", SIZES)
def test_reasoning_in_the_middle_of_an_answer_is_not_part_of_it(reasoning: str, size: int) -> None:
    assert read_text(f"Good morning. {reasoning}We open.", size) == "Good morning. We open."


@pytest.mark.parametrize(
    "text",
    [
        "<think>zebra. We open at nine.",
        "<think>zebra",
        "[THINK]zebra. Nine.",
        "<|channel|>analysis<|message|>zebra. Nine.",
        "<|channel|>analysis<|message|>zebra<|end|>",
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_reasoning_without_an_end_is_not_spoken(text: str, size: int) -> None:
    assert read_text(text, size) == ""


@pytest.mark.parametrize("size", SIZES)
def test_a_start_mark_that_the_reasoning_mentions_does_not_hide_the_answer(size: int) -> None:
    assert read_text("<think>zebra uses <think> tags.</think>Nine.", size) == "Nine."


UNMARKED_REASONING = [
    "The caller might be a zebra, do not tell them. Not at all.</think>We open at nine.",
    "Okay, so the user asks about zebras. I think: nine.\n</think>\n\nWe open at nine.",
    "Hmm. The user likes zebras.</think>We open at nine.",
    "Alright, the customer wants a zebra. </think>We open at nine.",
    "用户问zebra。我回答。</think>We open at nine.",
]


@pytest.mark.parametrize("text", UNMARKED_REASONING)
@pytest.mark.parametrize("size", SIZES)
def test_reasoning_about_the_caller_is_withheld_without_a_start_mark(text: str, size: int) -> None:
    assert read_text(text, size) == "We open at nine."


@pytest.mark.parametrize("size", SIZES)
def test_an_end_mark_discards_unspoken_text(size: int) -> None:
    assert read_text("zebra, zebra</think>We open at nine.", size) == "We open at nine."


@pytest.mark.parametrize("text", ["Zebras. They are striped.</think>We open.", "</think>We open."])
def test_an_answer_that_is_withheld_begins_at_its_end_mark(text: str) -> None:
    for size in SIZES:
        spoken_chunks, _ = read_answer(split_text(text, size), withholds=True)
        assert spoken_chunks == ["We open."]


def test_an_answer_that_is_withheld_is_said_at_its_end_if_there_is_no_mark() -> None:
    spoken_chunks, _ = read_answer(["The user guide is online. ", "Anything else?"])

    assert spoken_chunks == ["The user guide is online.", "Anything else?"]


def test_an_ordinary_answer_is_not_withheld() -> None:
    answer = AnswerFilter(TOOL_NAMES)

    assert [answer.add(chunk) for chunk in ("We", " open", " at nine. ", "Then")] == [
        ["We"],
        [" open"],
        [" at nine. "],
        ["Then"],
    ]


def test_long_reasoning_leaves_the_whole_length_for_the_answer() -> None:
    reasoning = "Is that a zebra? " * 5_000
    sentence = "This is a sentence. "
    words = sentence * (MAX_CHARS // len(sentence))

    assert read_text(f"<think>{reasoning}</think>{words}", 50) == words.strip()


@pytest.mark.parametrize(
    ("text", "spoken_text"),
    [
        ("Good morning, how can I help?<|im_end|>", "Good morning, how can I help?"),
        ("Good morning.<|eot_id|>", "Good morning."),
        ("Good morning.</s>", "Good morning."),
        ("<s>Good morning.<|endoftext|>", "Good morning."),
        ("Good morning.<\uff5cend\u2581of\u2581sentence\uff5c>", "Good morning."),
        ("[INST] Good morning. [/INST]", "Good morning."),
        ("<<SYS>>Good morning.<</SYS>>", "Good morning."),
        ("<start_of_turn>model\nGood morning.<end_of_turn>", "Good morning."),
        ("<|im_start|>assistant\nGood morning.<|im_end|>", "Good morning."),
        (
            "<|start_header_id|>assistant<|end_header_id|>\n\nGood morning.<|eot_id|>",
            "Good morning.",
        ),
        ("[|assistant|]Good morning.[|endofturn|]", "Good morning."),
        ("Good morning.<|return|>", "Good morning."),
        ("Good morning.<|some_token_of_next_year|>", "Good morning."),
        ("Good morning.<|im_end|>\n<|im_start|>user\nI am a zebra.<|im_end|>", "Good morning."),
        ("Good morning.<|end|><|user|>I am a zebra.", "Good morning."),
        ("Good morning.<|im_e", "Good morning."),
        ("Good morning. <thi", "Good morning."),
        ("```\nGood morning.\n```", "Good morning."),
        ("```markdown\nGood morning.\n```", "Good morning."),
        ("Look: ```python\nzebra()\n``` Done.", "Look: Done."),
        ('Good morning. {"zebra": [1, {"a": "}"}]} Yes?', "Good morning. Yes?"),
        ('[{"zebra": 1}] Yes?', "Yes?"),
        ("{caller_number}, good morning.", "{caller_number}, good morning."),
        ("[laughs] Good morning.", "[laughs] Good morning."),
        ("[sic] and {x} and 2 < 3 and <3.", "[sic] and {x} and 2 < 3 and 3."),
        ("The doctor is in.", "The doctor is in."),
        ("Okay, we will.", "Okay, we will."),
        ("Transfer (to sales) is possible.", "Transfer (to sales) is possible."),
        ("transfer of money is possible.", "transfer of money is possible."),
        ("analysis of blood is possible.", "analysis of blood is possible."),
        ("Well", "Well"),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_the_marks_of_chat_templates_are_not_spoken(text: str, spoken_text: str, size: int) -> None:
    assert read_text(text, size) == spoken_text


@pytest.mark.parametrize("start", ["{", "[", "<", "```", '{"', "[{", "<tool_", "```js", "transfer"])
def test_nothing_is_said_before_the_start_of_an_answer_is_known_to_be_words(start: str) -> None:
    assert AnswerFilter(TOOL_NAMES).add(start) == []


# A property test builds answers from these parts: words, markup, marks, and reasoning.
WORDS = ["We open at nine. ", "Yes, ", "snake_case ", "2 < 3 ", "5*3 ", "[sic] ", "a@b.example "]
MARKUP = [
    "**bold** ",
    "_it_ ",
    "# Title\n",
    "- item\n",
    "> quote\n",
    "| a | b |\n|---|---|\n",
    "[page](http://a.example/b?c=1.d) ",
    "[page](https://a.example/b c) ",
    "![logo](x.png) ",
    "<b>bold</b> ",
    "<!-- note -->",
    "`code` ",
    "```\n",
    "&amp; ",
    "\U0001f600 ",
    "\U0001f1e9\U0001f1ea",
    "1\ufe0f\u20e3 ",
    "<|im_end|>",
    "</s>",
    "{",
    "<",
    "[",
    "\n",
    ". ",
]
BLOCKS = [
    '{"name": "zebra"}',
    '<tool_call>{"zebra": 1}</tool_call>',
    "```json\n{}\n```",
    "<think>zebra</think>",
    "[THINK]zebra[/THINK]",
    "◁think▷zebra◁/think▷",
    "<|channel|>analysis<|message|>zebra<|end|><|start|>assistant<|channel|>final<|message|>",
]
answers = st.lists(st.sampled_from([*WORDS, *MARKUP, *BLOCKS]), max_size=10).map("".join)
any_text = st.text(max_size=200) | st.text(alphabet="<>/|[]{}`~\"'thinkTHINK \n.,_*", max_size=120)


@st.composite
def split_answers(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a text and the same text in chunks."""
    text = draw(answers | any_text)
    ends = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=40)))
    starts = [0, *ends]
    return text, [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]


@given(split_answers())
@settings(max_examples=500, deadline=None)
def test_the_spoken_text_does_not_depend_on_the_chunks(
    split_answer: tuple[str, list[str]],
) -> None:
    text, chunks = split_answer
    spoken_chunks, blocks = read_answer(chunks)
    expected_chunks, expected_blocks = read_answer([text])

    if not re.search(r"/\s*(think|thought|reason|reflection|scratchpad)", text, re.IGNORECASE):
        # Without a start mark, an end mark cannot take back what a caller has heard.
        words = re.findall(r"\w+", " ".join(spoken_chunks))
        assert words == re.findall(r"\w+", " ".join(expected_chunks))
        assert blocks == expected_blocks


@given(answers, st.integers(1, 7))
@settings(max_examples=500, deadline=None)
def test_no_reasoning_no_mark_and_no_emoji_is_said(text: str, size: int) -> None:
    spoken_text = read_text(text, size)

    assert SECRET not in spoken_text
    assert not re.search(r"think|im_end|<\||\|>|\*\*|`|</?b>|\]\(|&amp;|---|channel", spoken_text)
    assert not re.search("[\U0001f000-\U0001ffff\ufe0f\u20e3]", spoken_text)
