"""The tools that a model may call, when they are offered, and how calls are validated.

A tool call is only a request. It becomes an action if the profile's allow-list contains the tool
and the arguments fit the tool's schema. A transfer names one of the profile's targets, never a
phone number.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vca.conversation import json_schema, speech_text
from vca.conversation.llm import MAX_ARGUMENTS_CHARS, ToolCall, ToolSpec
from vca.conversation.types import (
    Action,
    HangUp,
    Profile,
    TakeMessage,
    ToolRefusal,
    Transfer,
    TransferToFallback,
)
from vca.kit import json

MAX_MESSAGES = 4
MAX_REFUSALS = 4
_PHONE_NUMBER = re.compile(r"[0-9+()./ -]{3,40}")


@dataclass(frozen=True)
class Tool:
    """One tool: how it is described to the model, and how its arguments become an action."""

    name: str
    description: str
    parameters: Callable[[Profile], Mapping[str, Any]]
    build_action: Callable[[Mapping[str, Any]], Action | None]
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
    arguments = _parse_arguments(call.arguments)
    if arguments is None:
        return "bad_arguments"
    target = arguments.get("target")
    if isinstance(target, str) and target not in profile.transfer_targets:
        return "unknown_target"
    if json_schema.find_problem(arguments, tool.parameters(profile)) is not None:
        return "bad_arguments"
    return tool.build_action(arguments) or "bad_arguments"


def _parse_arguments(text: str) -> dict[str, Any] | None:
    """Parse the arguments that the model wrote; None if they are not a JSON object.

    Empty text is an empty object.
    """
    if len(text) >= MAX_ARGUMENTS_CHARS:  # it was cut
        return None
    try:
        value = json.strict_loads((text.strip() or "{}").encode("utf-8", "surrogatepass"))
    except json.InvalidJson:
        return None
    return value if isinstance(value, dict) else None


class ToolCallCollector:
    """Collects the tool calls of one answer: the resulting actions, and why others are refused.

    A repeated message is refused. Of the actions that end the agent's part only the first counts.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._messages: list[TakeMessage] = []
        self._final_action: Action | None = None
        self._refusals: list[ToolRefusal] = []

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions, messages first."""
        return (*self._messages, *([self._final_action] if self._final_action else []))

    @property
    def refusals(self) -> tuple[ToolRefusal, ...]:
        """The reasons why calls were refused, one for each call."""
        return tuple(self._refusals)

    @property
    def is_full(self) -> bool:
        """Whether the model has made so many calls that no more are read."""
        return len(self._messages) >= MAX_MESSAGES or len(self._refusals) >= MAX_REFUSALS

    def is_allowed(self, call: ToolCall) -> bool:
        """Return whether the call would be accepted if it were the only one."""
        return not isinstance(validate_call(call, self._profile), str)

    def add_call(self, call: ToolCall) -> None:
        """Validate the next call of the answer and store its result."""
        result = validate_call(call, self._profile)
        if isinstance(result, str):
            self._refusals.append(result)
        elif isinstance(result, TakeMessage) and result not in self._messages:
            self._messages.append(result)
        elif not isinstance(result, TakeMessage) and self._final_action is None:
            self._final_action = result
        else:
            self._refusals.append("too_many")
