"""The tools that a model may call, when they are offered, and how calls are validated.

A tool call is only a request. It becomes an action if the profile's allow-list contains the tool
and the arguments fit the tool's schema. A transfer names one of the profile's targets, never a
phone number.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vca.conversation import json_schema, speech_text, tool_arguments, written_calls
from vca.conversation.llm import ToolSpec
from vca.conversation.types import (
    Action,
    HangUp,
    Profile,
    RefusedTool,
    TakeMessage,
    ToolCall,
    ToolRefusal,
    Transfer,
    TransferToFallback,
)

MAX_MESSAGES = 4
MAX_REFUSALS = 4
_MAX_NAME_CHARS = 64
_PHONE_NUMBER = re.compile(r"[0-9+()./ -]{3,40}")


@dataclass(frozen=True)
class Tool:
    """One tool: how it is described to the model, and how its arguments become an action."""

    name: str
    description: str
    parameters: Callable[[Profile], Mapping[str, Any]]
    build_action: Callable[[Mapping[str, Any]], Action | None]
    reads_texts: bool = False  # see `tool_arguments.read_texts`
    is_applicable: Callable[[Profile], bool] = lambda profile: True


def _object_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with exactly these members, all of them required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _transfer_parameters(profile: Profile) -> dict[str, Any]:
    targets = profile.transfer_targets.items()
    descriptions = "; ".join(
        f"{name}: {speech_text.clean_text(text)}" if text else name for name, text in targets
    )
    return _object_schema(
        target={
            "type": "string",
            "enum": list(profile.transfer_targets),
            "description": f"Whom to connect the caller with. {descriptions}",
        }
    )


def _message_parameters(profile: Profile) -> dict[str, Any]:
    return _object_schema(
        name={"type": ["string", "null"], "maxLength": 200, "description": "Who calls."},
        number={
            "type": ["string", "null"],
            "maxLength": 60,
            "description": "The number to call back, as the caller said it; null if none was said.",
        },
        reason={
            "type": "string",
            "minLength": 1,
            "maxLength": 2000,
            "description": "The message, in a sentence or two.",
        },
    )


def _build_take_message(arguments: Mapping[str, Any]) -> TakeMessage | None:
    number = speech_text.clean_text(arguments["number"] or "")
    if not speech_text.is_speakable(arguments["reason"]):
        return None
    return TakeMessage(
        name=speech_text.clean_text(arguments["name"] or "") or None,
        number=number if _PHONE_NUMBER.fullmatch(number) else None,
        reason=speech_text.clean_text(arguments["reason"]),
    )


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "end_call",
            "Hang up. Only when the conversation is over and you have said goodbye.",
            lambda profile: _object_schema(),
            lambda arguments: HangUp("agent_hangup"),
        ),
        Tool(
            "transfer",
            "Connect the caller with one of these people or departments.",
            _transfer_parameters,
            lambda arguments: Transfer(arguments["target"]),
            is_applicable=lambda profile: bool(profile.transfer_targets),
        ),
        Tool(
            "take_message",
            "Keep a message for the business. Only when the caller has said what it is about.",
            _message_parameters,
            _build_take_message,
            reads_texts=True,
        ),
        Tool(
            "fallback",
            "Send the caller to a person. Only when you cannot help and nothing else would.",
            lambda profile: _object_schema(),
            lambda arguments: TransferToFallback(),
        ),
    )
}


def available_tools(profile: Profile) -> tuple[ToolSpec, ...]:
    """Return the tools that the profile allows and that apply to it."""
    return tuple(
        ToolSpec(tool.name, tool.description, tool.parameters(profile))
        for tool in TOOLS.values()
        if tool.name in profile.tools and tool.is_applicable(profile)
    )


def validate_call(call: ToolCall, profile: Profile) -> Action | ToolRefusal:
    """Return the action of a model's tool call, or why it is refused."""
    tool = TOOLS.get(call.name)
    if tool is None:
        return "unknown_tool"
    if tool.name not in profile.tools or not tool.is_applicable(profile):
        return "not_allowed"
    schema, arguments = _read_arguments(tool, call, profile)
    if arguments is None:
        return "bad_arguments"
    target = arguments.get("target")
    if isinstance(target, str) and target not in profile.transfer_targets:
        return "unknown_target"
    if json_schema.find_problem(arguments, schema) is not None:
        return "bad_arguments"
    return tool.build_action(arguments) or "bad_arguments"


def _read_arguments(
    tool: Tool, call: ToolCall, profile: Profile
) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    """Return the tool's schema, and the call's arguments if they could be read."""
    schema = tool.parameters(profile)
    arguments = tool_arguments.read_arguments(call.arguments, schema)
    if arguments is not None and tool.reads_texts:
        arguments = tool_arguments.read_texts(arguments, schema)
    return schema, arguments


def describe_result(call: ToolCall, reason: ToolRefusal | None, profile: Profile) -> str:
    """Return the result of the call as a text for the model."""
    match reason:
        case None:
            return "Accepted. It is done at the end of your answer."
        case "unknown_tool" | "not_allowed":
            return "Nothing was done: there is no such tool."
        case "unknown_target":
            names = ", ".join(profile.transfer_targets)
            return f"Nothing was done: the target must be exactly one of these: {names}."
        case "too_many":
            return "Nothing was done: this call was one too many."
    schema, arguments = _read_arguments(TOOLS[call.name], call, profile)
    problem = None if arguments is None else json_schema.find_problem(arguments, schema)
    detail = problem or "they must be one JSON object with what the tool needs"
    return f"Nothing was done, because the arguments are not valid ({detail}). Call it again."


class ToolCallCollector:
    """Collects the tool calls of one answer: the resulting actions, and why others are refused.

    A repeated message is refused. Of the actions that end the agent's part only the first counts.
    A call that the model wrote as text counts only in an answer without any other call, and not if
    it repeats `quotable_texts`: what the caller said, and data of others.
    """

    def __init__(self, profile: Profile, quotable_texts: Sequence[str] = ()) -> None:
        self._profile = profile
        self._quotable_texts = quotable_texts
        self._messages: list[TakeMessage] = []
        self._final_action: Action | None = None
        self._refused_tools: list[RefusedTool] = []
        self.round_results: list[tuple[ToolCall, ToolRefusal | None]] = []
        """The calls of this answer that the model made by its API, and why they were refused."""
        self.start_round()

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions, messages first."""
        return (*self._messages, *([self._final_action] if self._final_action else []))

    @property
    def refused_tools(self) -> tuple[RefusedTool, ...]:
        """The calls that were refused, and why."""
        return tuple(self._refused_tools)

    @property
    def is_full(self) -> bool:
        """Whether no more calls are read because the model has made too many."""
        return len(self._messages) >= MAX_MESSAGES or len(self._refused_tools) >= MAX_REFUSALS

    @property
    def has_failed_call(self) -> bool:
        """Whether this answer asked for something that was not accepted in any form."""
        return any(
            reason not in (None, "too_many")
            and (self._final_action is None or call.name == "take_message")
            for call, reason in self.round_results
        )

    def start_round(self) -> None:
        """Begin another answer of the same turn."""
        self.round_results = []
        self._before_round = (list(self._messages), self._final_action, list(self._refused_tools))

    def restart_round(self) -> None:
        """Forget the calls of this answer, because another model answers now."""
        messages, self._final_action, refused_tools = self._before_round
        self._messages, self._refused_tools, self.round_results = (
            list(messages),
            list(refused_tools),
            [],
        )

    def is_allowed(self, call: ToolCall) -> bool:
        """Return whether the call would be accepted if it were the only one."""
        return not isinstance(self._judge(call), str)

    def add_call(self, call: ToolCall) -> None:
        """Validate the next call of the answer and store its result."""
        result = self._judge(call)
        reason: ToolRefusal | None = None
        if isinstance(result, str):
            reason = result
        elif isinstance(result, TakeMessage) and result not in self._messages:
            self._messages.append(result)
        elif not isinstance(result, TakeMessage) and self._final_action is None:
            self._final_action = result
        else:
            reason = "too_many"
        if reason is not None:
            self._refused_tools.append(RefusedTool(_clean_name(call.name), reason))
        if not call.source_text:
            self.round_results.append((call, reason))

    def _judge(self, call: ToolCall) -> Action | ToolRefusal:
        if call.source_text and (
            self.round_results or written_calls.is_quoted(call, self._quotable_texts)
        ):
            return "not_allowed"
        return validate_call(call, self._profile)


def _clean_name(name: str) -> str:
    return speech_text.clean_text(name[: 4 * _MAX_NAME_CHARS])[:_MAX_NAME_CHARS]
