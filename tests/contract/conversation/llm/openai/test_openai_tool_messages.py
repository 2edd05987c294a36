"""Tool calls and their results in the messages of a request."""

from dataclasses import replace

from tests.contract.suites.llm import make_request, read_text
from tests.fakes.openai_server import OpenAIServer
from vca.conversation.llm import ModelRequest, ToolCall
from vca.conversation.llm.openai import OpenAIModel
from vca.conversation.types import Message, ToolResult

CALLS = (
    ToolCall("take_message", '{"reason": "Call me."}', "id-1"),
    ToolCall("transfer", "{}", "id-2"),
)
RESULTS = (
    ToolResult("id-1", "take_message", "Accepted."),
    ToolResult("id-2", "transfer", "Nothing was done: half a pair \ud83d."),
)


def request_with_results(text: str = "One moment.") -> ModelRequest:
    request = make_request("Sales, please")
    return replace(request, messages=(*request.messages, Message("agent", text, CALLS), *RESULTS))


def test_calls_and_results_are_sent_in_the_format_of_the_api(
    model: OpenAIModel, server: OpenAIServer
) -> None:
    read_text(model.stream(request_with_results()))

    assert server.requests[-1].body["messages"][1:] == [
        {"role": "user", "content": "Sales, please"},
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {
                    "id": "id-1",
                    "type": "function",
                    "function": {"name": "take_message", "arguments": '{"reason": "Call me."}'},
                },
                {
                    "id": "id-2",
                    "type": "function",
                    "function": {"name": "transfer", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "id-1", "content": "Accepted."},
        {
            "role": "tool",
            "tool_call_id": "id-2",
            "content": "Nothing was done: half a pair ?.",
        },
    ]


def test_an_answer_of_only_tool_calls_has_no_content(
    model: OpenAIModel, server: OpenAIServer
) -> None:
    read_text(model.stream(request_with_results("")))

    assert server.requests[-1].body["messages"][2]["content"] is None
