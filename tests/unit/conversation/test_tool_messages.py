"""Tool calls and their results for servers that reject the role `tool`."""

from dataclasses import replace

from tests.contract.suites.llm import make_request
from vca.conversation.llm import ModelRequest, ToolCall
from vca.conversation.llm.openai_http import _request_messages
from vca.conversation.types import Message, ToolResult


def request_with(*messages: Message | ToolResult) -> ModelRequest:
    return replace(make_request("Hello?", system="Be kind."), messages=messages)


def test_calls_and_results_become_text_of_alternating_speakers() -> None:
    calls = (ToolCall("take_message", "{}", "a"), ToolCall("transfer", "{}", "b"))
    request = request_with(
        Message("agent", "Acme here."),
        Message("caller", "Sales."),
        Message("agent", "One moment.", calls),
        ToolResult("a", "take_message", "Accepted."),
        ToolResult("b", "transfer", "Nothing was done."),
    )

    assert _request_messages(request, tool_role=False) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "(The call is connected.)"},
        {"role": "assistant", "content": "Acme here."},
        {"role": "user", "content": "Sales."},
        {
            "role": "assistant",
            "content": "One moment. (Tools called: take_message, transfer.)",
        },
        {
            "role": "user",
            "content": "(Result of the tool take_message: Accepted.) "
            "(Result of the tool transfer: Nothing was done.)",
        },
    ]


def test_an_answer_of_only_tool_calls_becomes_text_too() -> None:
    request = request_with(
        Message("caller", "Sales."),
        Message("agent", "", (ToolCall("transfer", "{}", "b"),)),
        ToolResult("b", "transfer", "Nothing was done."),
    )

    assert _request_messages(request, tool_role=False)[2:] == [
        {"role": "assistant", "content": "(Tools called: transfer.)"},
        {"role": "user", "content": "(Result of the tool transfer: Nothing was done.)"},
    ]


def test_messages_without_tools_are_the_same_for_every_server() -> None:
    request = make_request("How may I help you?", "Hello?")

    assert _request_messages(request, tool_role=False) == _request_messages(request)
