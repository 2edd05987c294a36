"""The request that sends the results of tool calls back to the model."""

import re
from collections.abc import Sequence
from dataclasses import replace

from vca.conversation import tools
from vca.conversation.llm import ModelRequest
from vca.conversation.types import Message, ToolCall, ToolRefusal, ToolResult
from vca.kit import json

_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def add_results(
    request: ModelRequest, text: str, results: Sequence[tuple[ToolCall, ToolRefusal | None]]
) -> ModelRequest:
    """Return the request continued by the agent's answer and the results of its calls.

    `text` is what the agent has said in that answer.
    """
    calls = _with_ids([call for call, _ in results])
    tool_results = (
        ToolResult(
            call.call_id or "", call.name, tools.describe_result(call, reason, request.profile)
        )
        for call, (_, reason) in zip(calls, results, strict=True)
    )
    echoed_calls = tuple(replace(call, arguments=_valid_json(call.arguments)) for call in calls)
    answer = Message("agent", text, echoed_calls)
    return replace(request, messages=(*request.messages, answer, *tool_results))


def quotable_texts(request: ModelRequest) -> list[str]:
    """Return the texts in the request that a model could be made to repeat as a tool call."""
    utterances = (message.text for message in request.messages if message.speaker != "agent")
    return [*utterances, *request.quoted_texts]


def _with_ids(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Return the calls with unique ids; those of models that send none are ours.

    Mistral requires nine letters and digits.
    """
    result: list[ToolCall] = []
    for position, call in enumerate(calls, start=1):
        call_id = call.call_id or ""
        if not _CALL_ID.fullmatch(call_id) or any(call_id == other.call_id for other in result):
            call_id = f"call{position:05}"
        result.append(replace(call, call_id=call_id))
    return result


def _valid_json(arguments: str) -> str:
    """Return the arguments if they are a JSON object, else an empty one.

    Servers parse the arguments of earlier calls, and reject the request if they cannot.
    """
    try:
        value = json.strict_loads(arguments.encode("utf-8", "surrogatepass"))
    except json.InvalidJson:
        return "{}"
    return arguments if isinstance(value, dict) else "{}"
