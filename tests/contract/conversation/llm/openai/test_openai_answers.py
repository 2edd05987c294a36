"""The answers of the OpenAI client: text, tokens and tool calls."""

import json
import zlib
from contextlib import closing
from time import monotonic
from typing import Any

import pytest

from tests.contract.conversation.llm.openai.conftest import HELLO, request_text
from tests.contract.suites.llm import make_request, read_answer, read_stream
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ModelError, Reasoning, ToolCall
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.types import Tokens


def test_chunks_are_returned_as_the_server_sends_them(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.hang_after_chunk)

    with closing(model.stream(make_request("Hello?"))) as chunks:
        assert next(chunks) == "One moment."


def test_the_answer_ends_at_done_though_the_response_does_not(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(openai_behaviours.hang_after_done)
    started_at = monotonic()

    assert request_text(model) == "Done."

    assert monotonic() - started_at < 4


@pytest.mark.parametrize(
    ("usage_event", "tokens"),
    [
        (openai_behaviours.usage_event(120, 9), Tokens(120, 9)),
        (openai_behaviours.usage_event(-1, 9), None),
        (openai_behaviours.usage_event("many", 9), None),
        (openai_behaviours.usage_event(10**12, 9), None),
        (openai_behaviours.usage_event(None, None), None),
    ],
)
def test_reported_tokens_are_returned_if_they_are_plausible(
    server: OpenAIServer, model: OpenAIModel, usage_event: dict[str, Any], tokens: Tokens | None
) -> None:
    server.set_behaviours(openai_behaviours.stream_events(HELLO, usage_event))

    assert read_stream(model.stream(make_request("Hello?"))) == (["Hello."], tokens)


END_CALL = ToolCall("end_call", "{}")
TRANSFER_TO_SALES = ToolCall("transfer", '{"target": "sales"}')
ARGUMENT_PARTS = ('{"tar', 'get": "sa', 'les"}')
TOOL_CALL_STREAMS: list[tuple[list[Any], list[ToolCall]]] = [
    (openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS), [TRANSFER_TO_SALES]),
    (openai_behaviours.tool_deltas("end_call"), [ToolCall("end_call", "")]),
    (openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS, index=None), [TRANSFER_TO_SALES]),
    (openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS, call_id=None), [TRANSFER_TO_SALES]),
    (
        [
            *openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS),
            *openai_behaviours.tool_deltas("end_call", "{}", index=1, call_id="call_2"),
        ],
        [TRANSFER_TO_SALES, END_CALL],
    ),
    (  # alternating parts of two calls
        [
            event
            for pair in zip(
                openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS),
                openai_behaviours.tool_deltas("end_call", "{", "}", "", index=1, call_id="call_2"),
                strict=True,
            )
            for event in pair
        ],
        [TRANSFER_TO_SALES, END_CALL],
    ),
    (  # all with index 0, distinguished by their ids
        [
            *openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS),
            *openai_behaviours.tool_deltas("end_call", "{}", call_id="call_2"),
        ],
        [TRANSFER_TO_SALES, END_CALL],
    ),
    (
        openai_behaviours.tool_deltas("end_call", *["x" * 10_000] * 50),
        [ToolCall("end_call", "x" * MAX_ARGUMENTS_CHARS)],
    ),
    (openai_behaviours.tool_deltas("x" * 10_000, "{}"), [ToolCall("x" * 100, "{}")]),
    (
        [
            event
            for number in range(500)
            for event in openai_behaviours.tool_deltas("end_call", "{}", index=number)
        ],
        [END_CALL] * 32,
    ),
]


@pytest.mark.parametrize(("events", "calls"), TOOL_CALL_STREAMS)
def test_tool_calls_are_assembled_from_their_parts(
    server: OpenAIServer, model: OpenAIModel, events: list[Any], calls: list[ToolCall]
) -> None:
    server.set_behaviours(openai_behaviours.stream_events(HELLO, *events))

    chunks, _ = read_stream(model.stream(make_request("Hello?")))

    assert chunks == ["Hello.", *calls]


def test_an_answer_may_contain_only_tool_calls(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(
        openai_behaviours.stream_events(*openai_behaviours.tool_deltas("end_call", "{}"))
    )

    assert read_stream(model.stream(make_request("Hello?"))) == ([END_CALL], None)


def cut_off_after(*events: Any) -> Any:
    """Return a behaviour that sends these events and closes the connection."""

    def send(handler: Any) -> None:
        handler.begin_response()
        for event in events:
            handler.send_event(event)
        handler.close_connection = True

    return send


def read_until_failure(model: OpenAIModel) -> list[Any]:
    chunks: list[Any] = []
    with pytest.raises(ModelError):
        chunks += model.stream(make_request("Hello?"))
    return chunks


def test_a_tool_call_that_was_cut_off_is_not_returned(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        cut_off_after(*openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS[:-1]))
    )

    assert read_until_failure(model) == []


@pytest.mark.parametrize(
    "error", [{"error": {"code": 500}}, {"choices": [{"delta": {}, "finish_reason": "error"}]}]
)
def test_a_complete_tool_call_is_returned_though_an_error_follows(
    server: OpenAIServer, model: OpenAIModel, error: dict[str, Any]
) -> None:
    call = openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS)
    server.set_behaviours(
        openai_behaviours.stream_events(HELLO, *call, error), cut_off_after(HELLO, *call)
    )

    assert read_until_failure(model) == ["Hello.", TRANSFER_TO_SALES]
    assert read_until_failure(model) == ["Hello.", TRANSFER_TO_SALES]


MALFORMED_EVENTS: list[Any] = [
    "{not json",
    ": keepalive",
    "",
    5,
    [5],
    {"usage": 5},
    {"choices": 5},
    {"choices": [{}]},
    {"choices": [{"delta": None}]},
    {"choices": [{"delta": {"content": 5, "tool_calls": 5}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": [1], "function": {"name": 5}}]}}]},
    {"choices": [{"delta": {"content": [{"type": "image"}, 5, {"text": 5}]}}]},
    {"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {}}]},
]


@pytest.mark.parametrize("event", MALFORMED_EVENTS)
def test_a_malformed_event_costs_neither_text_nor_a_tool_call(
    server: OpenAIServer, model: OpenAIModel, event: Any
) -> None:
    first, *others = openai_behaviours.tool_deltas("transfer", *ARGUMENT_PARTS)
    server.set_behaviours(
        openai_behaviours.stream_events(event, HELLO, event, first, event, *others, event)
    )

    chunks, _ = read_stream(model.stream(make_request("Hello?")))

    assert chunks == ["Hello.", TRANSFER_TO_SALES]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("refusal", "refusal"),
        ("tool_calls", "tool_calls"),
        ("", "stop"),
        ("null", "stop"),
        (None, "stop"),
        (7, "stop"),
    ],
)
@pytest.mark.parametrize("place", ["choice", "delta", "event"])
def test_the_finish_reason_is_read_wherever_it_is(
    server: OpenAIServer, model: OpenAIModel, reason: Any, finish: str, place: str
) -> None:
    event = openai_behaviours.delta()
    places = {"choice": event["choices"][0], "delta": event["choices"][0]["delta"], "event": event}
    places[place]["finish_reason"] = reason
    server.set_behaviours(openai_behaviours.stream_events(HELLO, event))

    chunks, summary = read_answer(model.stream(make_request("Hello?")))

    assert (chunks, summary.finish) == (["Hello."], finish)


def send_finish_and_go_silent(handler: Any) -> None:
    handler.send_event(HELLO)
    handler.send_event(openai_behaviours.delta(finish_reason="length"))
    openai_behaviours.hang(handler)


def send_text_with_finish_and_go_silent(handler: Any) -> None:
    """Send the text and the finish reason in one packet."""
    events = (HELLO, openai_behaviours.delta(finish_reason="length"))
    text = "".join(f"data: {openai_behaviours.dump(event)}\n\n" for event in events)
    handler.send_chunk(text.encode())
    openai_behaviours.hang(handler)


def send_finish_and_keepalives(handler: Any) -> None:
    handler.send_event(HELLO)
    handler.send_event(openai_behaviours.delta(finish_reason="length"))
    while not (handler.server.release.wait(0.05) or handler.is_disconnected()):
        handler.send_chunk(b": keepalive\n\n")


@pytest.mark.parametrize(
    "end",
    [
        send_finish_and_go_silent,
        send_text_with_finish_and_go_silent,
        send_finish_and_keepalives,
    ],
)
def test_an_answer_is_complete_with_its_finish_reason_though_the_response_goes_on(
    server: OpenAIServer, model: OpenAIModel, end: Any
) -> None:
    def behave(handler: Any) -> None:
        handler.begin_response()
        end(handler)

    server.set_behaviours(behave)
    started_at = monotonic()

    chunks, summary = read_answer(model.stream(make_request("Hello?")))

    assert (chunks, summary.finish) == (["Hello."], "length")
    assert monotonic() - started_at < 4


def test_text_after_an_early_finish_reason_is_read(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    def go_on(handler: Any) -> None:
        handler.begin_response()
        handler.send_event(openai_behaviours.delta(content="One, ", finish_reason="stop"))
        handler.server.release.wait(1.3)
        handler.send_texts("two.")
        handler.finish_stream()

    server.set_behaviours(go_on)

    assert request_text(model) == "One, two."


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
    ],
)
def test_reasoning_is_reported_but_not_part_of_the_answer(
    server: OpenAIServer, model: OpenAIModel, delta: dict[str, Any]
) -> None:
    def reason_first(handler: Any) -> None:
        handler.begin_response()
        handler.send_event(openai_behaviours.delta(**delta))
        handler.server.release.wait(0.05)
        handler.send_event(HELLO)
        handler.finish_stream()

    server.set_behaviours(reason_first)

    assert list(model.stream(make_request("Hello?"))) == [Reasoning(), "Hello."]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_answer_is_read_as_it_arrives(
    server: OpenAIServer, model: OpenAIModel, encoding: str
) -> None:
    def send_compressed(handler: Any) -> None:
        compressor = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
        handler.begin_response(content_encoding=encoding)
        event = f"data: {json.dumps(HELLO)}\n\n".encode()
        handler.send_chunk(compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH))
        openai_behaviours.hang(handler)

    server.set_behaviours(send_compressed)

    with closing(model.stream(make_request("Hello?"))) as chunks:
        assert next(chunks) == "Hello."


def test_a_refusal_makes_the_summary_say_so(server: OpenAIServer, model: OpenAIModel) -> None:
    server.set_behaviours(
        openai_behaviours.stream_events(
            openai_behaviours.delta(refusal="I cannot "),
            openai_behaviours.delta(refusal="help with that."),
            openai_behaviours.delta(finish_reason="stop"),
        )
    )

    chunks, summary = read_answer(model.stream(make_request("Hello?")))

    assert "".join(map(str, chunks)) == "I cannot help with that."
    assert summary.finish == "refusal"


def test_a_refusal_of_the_model_is_returned_as_its_answer(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        openai_behaviours.stream_events(openai_behaviours.delta(refusal="I cannot help with that."))
    )

    assert request_text(model) == "I cannot help with that."
