"""What VCA reads from responses in the shape of real model servers, however they are split."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.suites.llm import make_request, read_answer
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import AnswerSummary, ModelError, ToolCall
from vca.conversation.llm.event_stream import EventReader
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.llm.openai_answer import AnswerAssembler
from vca.conversation.types import Tokens

FOLDER = Path(__file__).with_name("transcripts")
LINE_ENDS = (b"\n", b"\r\n", b"\r")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

TRANSFER = ToolCall("transfer", '{"target":"sales"}')
END_CALL = ToolCall("end_call", "{}")
MESSAGE_OF_ANN = ToolCall("take_message", '{"name":"Ann","reason":"a quote"}')
MESSAGE_OF_BOB = ToolCall("take_message", '{"name":"Bob","reason":"a visit"}')


@dataclass(frozen=True)
class Transcript:
    """A response of a server: the page that shows its shape, its content type and its body."""

    source: str
    content_type: str
    body: bytes


def read_transcript(name: str) -> Transcript:
    head, _, body = (FOLDER / f"{name}.txt").read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
    return Transcript(fields["Source"], fields["Content-Type"], body)


def finished(finish: Any, tokens: Tokens | None = None) -> AnswerSummary:
    return AnswerSummary(tokens, finish)


# The text, the tool calls and the summary of each answer.
ANSWERS: dict[str, tuple[str, list[ToolCall], AnswerSummary]] = {
    "azure": (
        "Good morning. We are open until five.",
        [TRANSFER],
        finished("tool_calls"),
    ),
    "azure_content_filter": ("You should take ", [], finished("content_filter")),
    "gateway_pings": ("Good morning. How can I help?", [], finished("stop")),
    "gemini": ("One moment.", [MESSAGE_OF_ANN, TRANSFER], finished("stop", Tokens(88, 21))),
    "gemini_parallel_calls": (
        "",
        [MESSAGE_OF_ANN, MESSAGE_OF_BOB],
        finished("stop", Tokens(88, 21)),
    ),
    "litellm": (
        "Hello there.",
        [MESSAGE_OF_ANN, END_CALL],
        finished("tool_calls", Tokens(310, 40)),
    ),
    "llama_cpp": ("We open at nine.", [], finished("length", Tokens(17, 9))),
    "mistral": ("Hello! How can I help?", [], finished("stop", Tokens(5, 15))),
    "not_streamed": ("We open at nine.", [END_CALL], finished("tool_calls", Tokens(44, 11))),
    "ollama_text": ("We open at nine.", [], finished("stop")),
    "ollama_tool_calls": ("", [MESSAGE_OF_ANN, END_CALL], finished("stop")),
    "openrouter": ("Grüezi, wie geht’s? 😀", [], finished("stop", Tokens(14, 6))),
    "poolside": ("", [TRANSFER], finished("tool_calls")),
    "vllm": (
        "I will connect you.",
        [ToolCall("transfer", '{"target": "sales"}'), END_CALL],
        finished("tool_calls", Tokens(120, 32)),
    ),
}
# The text before the error, and the log fields of the error.
FAILURES: dict[str, tuple[str, dict[str, str | int]]] = {
    "gemini_error": (
        "",
        {"failure": "unavailable", "server_status": 503, "server_code": "unavailable"},
    ),
    "litellm_error": ("", {"failure": "rate_limited", "server_status": 429}),
    "lm_studio_error": ("", {"failure": "unavailable"}),
    "openrouter_error": ("I am looking", {"failure": "unavailable", "server_status": 502}),
}


def replay(transcript: Transcript) -> Any:
    """Return a server's behaviour that sends the transcript."""

    def send(handler: Any) -> None:
        handler.begin_response(content_type=transcript.content_type)
        handler.send_chunk(transcript.body)
        handler.send_chunk(b"")

    return send


def test_every_transcript_names_its_public_source_and_has_a_test() -> None:
    names = {path.stem for path in FOLDER.glob("*.txt")}

    assert names == {*ANSWERS, *FAILURES}
    for name in names:
        assert read_transcript(name).source.startswith("https://"), name


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_of_a_server_is_read(
    server: OpenAIServer, model: OpenAIModel, name: str
) -> None:
    server.set_behaviours(replay(read_transcript(name)))

    chunks, summary = read_answer(model.stream(make_request("Hello?")))

    text = "".join(chunk for chunk in chunks if isinstance(chunk, str))
    calls = [chunk for chunk in chunks if isinstance(chunk, ToolCall)]
    assert (text, calls, summary) == ANSWERS[name]


@pytest.mark.parametrize("name", FAILURES)
def test_an_error_that_a_server_reports_in_its_answer_is_a_model_error(
    server: OpenAIServer, model: OpenAIModel, name: str
) -> None:
    server.set_behaviours(replay(read_transcript(name)))
    chunks: list[Any] = []

    with pytest.raises(ModelError) as error_info:
        chunks += model.stream(make_request("Hello?"))

    text, fields = FAILURES[name]
    assert "".join(chunks) == text
    assert error_info.value.log_fields == fields


def read_split(body: bytes, positions: list[int]) -> tuple[str, list[ToolCall], Any]:
    """Return the text, the calls and the rest of an answer that arrives in parts."""
    reader, answer = EventReader(), AnswerAssembler()
    edges = [0, *sorted(position % (len(body) + 1) for position in positions), len(body)]
    text = "".join(
        answer.add_events(reader.feed(body[start:end])) for start, end in pairwise(edges)
    )
    text += answer.add_events(reader.finish())
    rest = (answer.tokens, answer.finish, answer.finish_reason, answer.error)
    return text, list(answer.tool_calls.calls()), rest


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from([*ANSWERS, *FAILURES]),
    line_end=st.sampled_from(LINE_ENDS),
    prefix=st.sampled_from([b"", BYTE_ORDER_MARK]),
    positions=st.lists(st.integers(0, 5_000), max_size=40),
)
def test_an_answer_does_not_depend_on_how_it_is_split(
    name: str, line_end: bytes, prefix: bytes, positions: list[int]
) -> None:
    body = read_transcript(name).body

    split_answer = read_split(prefix + body.replace(b"\n", line_end), positions)

    assert split_answer == read_split(body, [])


@pytest.mark.parametrize("name", [*ANSWERS, *FAILURES])
@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_an_answer_can_be_split_at_every_byte(name: str, line_end: bytes) -> None:
    body = read_transcript(name).body

    split_answer = read_split(body.replace(b"\n", line_end), list(range(2 * len(body))))

    assert split_answer == read_split(body, [])
