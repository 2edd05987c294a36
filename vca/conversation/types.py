"""The plain values that cross the door of this room."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["receptionist", "sales", "support", "dispatcher", "custom"]
Speaker: TypeAlias = Literal["caller", "agent"]
EndReason: TypeAlias = Literal[
    "agent_hangup", "max_duration", "max_turns", "token_limit", "silence", "model_error"
]
# Why a tool that the model called was not used.
ToolRefusal: TypeAlias = Literal[
    "unknown_tool", "not_allowed", "bad_arguments", "unknown_target", "too_many"
]
_EMPTY_MAPPING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Profile:
    """What the conversation needs of an AI profile.

    `language` is a BCP 47 tag. `max_turns` counts the caller's turns that get an answer, `model`
    None means the deployment's own, `temperature` None leaves it to the model. `tools` is what the
    model may do, by name; `transfer_targets` are names with a description each: the numbers behind
    them never enter this room.
    """

    name: str
    role: Role
    system_prompt: str
    greeting: str | None = None
    language: str = "en"
    model: str | None = None
    temperature: float | None = None
    max_turns: int = 60
    max_duration_seconds: int = 1800
    end_phrases: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    transfer_targets: Mapping[str, str] = field(default_factory=lambda: _EMPTY_MAPPING)


@dataclass(frozen=True)
class CallFacts:
    """What is known of the call; `caller_number` None means withheld, `answered_at` is aware.

    `variables` are what the tenant and the call's metadata tell the prompt, by name;
    `tokens_spent` is what the call's earlier turns cost.
    """

    caller_number: str | None
    called_number: str
    answered_at: datetime
    variables: Mapping[str, str] = field(default_factory=lambda: _EMPTY_MAPPING)
    tokens_spent: int = 0


@dataclass(frozen=True)
class Limits:
    """What bounds a call beside its profile; None is no limit."""

    tokens: int | None = None


@dataclass(frozen=True)
class Message:
    """One line of the conversation as the model sees it."""

    speaker: Speaker
    text: str


@dataclass(frozen=True)
class HangUp:
    """End the call once the reply's text has been spoken."""

    end_reason: EndReason
    kind: Literal["hang_up"] = field(default="hang_up", init=False)


@dataclass(frozen=True)
class Transfer:
    """Connect the caller with one of the profile's targets, by its name."""

    target: str
    kind: Literal["transfer"] = field(default="transfer", init=False)


@dataclass(frozen=True)
class TakeMessage:
    """Keep a message; `number` is what the caller gave, as said: it is read, never dialled."""

    name: str | None
    number: str | None
    reason: str
    kind: Literal["take_message"] = field(default="take_message", init=False)


@dataclass(frozen=True)
class TransferToFallback:
    """Send the caller to the number's fallback."""

    kind: Literal["to_fallback"] = field(default="to_fallback", init=False)


# Closed: the flow matches on the class.
Action: TypeAlias = HangUp | Transfer | TakeMessage | TransferToFallback


@dataclass(frozen=True)
class Tokens:
    """What an answer cost, in the model's tokens."""

    input: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.input + other.input, self.output + other.output)


@dataclass(frozen=True)
class Reply:
    """What the agent said, never empty, and what is done after it, in order.

    Messages come first among the actions, and at most one other follows them. `latency_ms` tells
    milliseconds since the caller was heard: `model_first_token` and `model` (its last), nothing
    when no model was asked; nor is there a `model` then. `refused` says why tools that the model
    called were not used.
    """

    text: str
    actions: tuple[Action, ...] = ()
    latency_ms: Mapping[str, int] = field(default_factory=lambda: _EMPTY_MAPPING)
    tokens: Tokens = Tokens()
    model: str | None = None
    refusals: tuple[ToolRefusal, ...] = ()
