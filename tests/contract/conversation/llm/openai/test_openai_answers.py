"""The answers of the OpenAI client: text, tokens and tool calls."""

from contextlib import closing
from time import monotonic
from typing import Any

import pytest

from tests.contract.conversation.llm.openai.conftest import HELLO, request_text
from tests.contract.suites.llm import make_request, read_stream
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ModelError, ToolCall
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


def test_a_tool_call_that_was_cut_off_is_not_returned(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    def cut_off(handler: Any) -> None:
        handler.begin_response()
        for event in openai_behaviours.tool_deltas("end_call", "{}"):
            handler.send_event(event)
        handler.close_connection = True

    server.set_behaviours(cut_off)
    chunks: list[Any] = []

    with pytest.raises(ModelError):
        chunks += model.stream(make_request("Hello?"))

    assert chunks == []


def test_a_refusal_of_the_model_is_returned_as_its_answer(
    server: OpenAIServer, model: OpenAIModel
) -> None:
    server.set_behaviours(
        openai_behaviours.stream_events(openai_behaviours.delta(refusal="I cannot help with that."))
    )

    assert request_text(model) == "I cannot help with that."
