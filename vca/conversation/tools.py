"""What a model may do with a call: the tools, when they are offered, and what is let through.

A model's tool call is a wish. It becomes an action only if the profile's allow-list has the tool
and its arguments fit their schema; a transfer names one of the profile's targets, never a number.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vca.conversation import json_schema, spoken
from vca.conversation.llm import MAX_ARGUMENTS, ToolCall, ToolSpec
from vca.conversation.types import (
    Action,
    HangUp,
    Profile,
    Refusal,
    TakeMessage,
    ToFallback,
    Transfer,
)
from vca.kit import json

MAX_CALLS = 4
MAX_REFUSED = 4
_NUMBER = re.compile(r"[0-9+()./ -]{3,40}")


@dataclass(frozen=True)
class Tool:
    """One thing that a model may do: how it is told of it, and what its arguments become."""

    name: str
    description: str
    parameters: Callable[[Profile], Mapping[str, Any]]
    action: Callable[[Mapping[str, Any]], Action | None]
    makes_sense: Callable[[Profile], bool] = lambda profile: True


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object that has these members, all of them, and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _transfer(profile: Profile) -> dict[str, Any]:
    targets = profile.transfer_targets.items()
    told = "; ".join(f"{name}: {spoken.clean(text)}" if text else name for name, text in targets)
    return _object(
        target={
            "type": "string",
            "enum": list(profile.transfer_targets),
            "description": f"Whom to connect the caller with. {told}",
        }
    )


def _message(profile: Profile) -> dict[str, Any]:
    return _object(
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


def _take_message(arguments: Mapping[str, Any]) -> TakeMessage | None:
    number = spoken.clean(arguments["number"] or "")
    if not spoken.can_be_said(arguments["reason"]):
        return None
    return TakeMessage(
        name=spoken.clean(arguments["name"] or "") or None,
        number=number if _NUMBER.fullmatch(number) else None,
        reason=spoken.clean(arguments["reason"]),
    )


TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            "end_call",
            "Hang up. Only when the conversation is over and you have said goodbye.",
            lambda profile: _object(),
            lambda arguments: HangUp("agent_hangup"),
        ),
        Tool(
            "transfer",
            "Connect the caller with one of these people or departments.",
            _transfer,
            lambda arguments: Transfer(arguments["target"]),
            makes_sense=lambda profile: bool(profile.transfer_targets),
        ),
        Tool(
            "take_message",
            "Keep a message for the business. Only when the caller has said what it is about.",
            _message,
            _take_message,
        ),
        Tool(
            "fallback",
            "Send the caller to a person. Only when you cannot help and nothing else would.",
            lambda profile: _object(),
            lambda arguments: ToFallback(),
        ),
    )
}


def offered(profile: Profile) -> tuple[ToolSpec, ...]:
    """The tools that the profile allows and that make sense for it."""
    return tuple(
        ToolSpec(tool.name, tool.description, tool.parameters(profile))
        for tool in TOOLS.values()
        if tool.name in profile.tools and tool.makes_sense(profile)
    )


def judged(call: ToolCall, profile: Profile) -> Action | Refusal:
    """The action that a model's call comes to, or why it comes to none."""
    tool = TOOLS.get(call.name)
    if tool is None:
        return "unknown_tool"
    if tool.name not in profile.tools or not tool.makes_sense(profile):
        return "not_allowed"
    arguments = _arguments(call.arguments)
    if arguments is None:
        return "bad_arguments"
    target = arguments.get("target")
    if isinstance(target, str) and target not in profile.transfer_targets:
        return "unknown_target"
    if json_schema.problem(arguments, tool.parameters(profile)) is not None:
        return "bad_arguments"
    return tool.action(arguments) or "bad_arguments"


def _arguments(text: str) -> dict[str, Any] | None:
    """The object that the model wrote, None if it is none; no text at all is an empty one."""
    if len(text) >= MAX_ARGUMENTS:  # it was cut, or as good as that
        return None
    try:
        value = json.strict_loads((text.strip() or "{}").encode("utf-8", "surrogatepass"))
    except json.BadJson:
        return None
    return value if isinstance(value, dict) else None


class Calls:
    """The tools that a model calls in one answer: what comes of them, and why of the rest nothing.

    A message is kept once; of what would end the agent's part only the first counts.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._messages: list[TakeMessage] = []
        self._last: Action | None = None
        self._refused: list[Refusal] = []

    @property
    def actions(self) -> tuple[Action, ...]:
        """What is done, messages first."""
        return (*self._messages, *([self._last] if self._last else []))

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Why calls came to nothing, one reason each."""
        return tuple(self._refused)

    @property
    def full(self) -> bool:
        """Whether the model has called so many that no more is listened to."""
        return len(self._messages) >= MAX_CALLS or len(self._refused) >= MAX_REFUSED

    def allows(self, call: ToolCall) -> bool:
        """Whether something comes of the call, were it the only one."""
        return not isinstance(judged(call, self._profile), str)

    def take(self, call: ToolCall) -> None:
        """Judge the next call of the answer."""
        found = judged(call, self._profile)
        if isinstance(found, str):
            self._refused.append(found)
        elif isinstance(found, TakeMessage) and found not in self._messages:
            self._messages.append(found)
        elif not isinstance(found, TakeMessage) and self._last is None:
            self._last = found
        else:
            self._refused.append("too_many")
