"""The plain values that this package takes and returns."""

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
# Why a tool call was refused.
ToolRefusal: TypeAlias = Literal[
    "unknown_tool", "not_allowed", "bad_arguments", "unknown_target", "too_many"
]
_EMPTY_MAPPING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Profile:
    """The part of an AI profile that the conversation needs.

    `language` is a BCP 47 tag. `max_turns` counts the caller's turns that get an answer. `model`
    None means the deployment's default, `temperature` None the model's default. `tools` are the
    names of the tools that the model may call. `transfer_targets` maps names to descriptions: the
    phone numbers behind them never enter this package.
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
    """The facts of the call.

    `caller_number` None means withheld; `answered_at` is timezone-aware. `variables` are the prompt
    variables of the tenant and the call's metadata, by name. `tokens_spent` counts the tokens of
    the call's earlier turns.
    """

    caller_number: str | None
    called_number: str
    answered_at: datetime
    variables: Mapping[str, str] = field(default_factory=lambda: _EMPTY_MAPPING)
    tokens_spent: int = 0


@dataclass(frozen=True)
class Limits:
    """The limits of a call besides those of its profile; None means no limit."""

    tokens: int | None = None


@dataclass(frozen=True)
class Message:
    """One message of the conversation as the model sees it."""

    speaker: Speaker
    text: str


@dataclass(frozen=True)
class HangUp:
    """End the call once the reply's text has been spoken.

    `end_detail` is the status and code of the model's server, if that is why the call ends.
    """

    end_reason: EndReason
    end_detail: str | None = None
    kind: Literal["hang_up"] = field(default="hang_up", init=False)


@dataclass(frozen=True)
class Transfer:
    """Connect the caller with one of the profile's targets, by its name."""

    target: str
    kind: Literal["transfer"] = field(default="transfer", init=False)


@dataclass(frozen=True)
class TakeMessage:
    """Store a message; `number` is what the caller said: people read it, VCA never dials it."""

    name: str | None
    number: str | None
    reason: str
    kind: Literal["take_message"] = field(default="take_message", init=False)


@dataclass(frozen=True)
class TransferToFallback:
    """Transfer the caller to the number's fallback."""

    kind: Literal["to_fallback"] = field(default="to_fallback", init=False)


# A closed union: the `calls` package matches on the class.
Action: TypeAlias = HangUp | Transfer | TakeMessage | TransferToFallback


@dataclass(frozen=True)
class Tokens:
    """The tokens of an answer, as the model counts them."""

    input: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """The sum of input and output tokens."""
        return self.input + self.output

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.input + other.input, self.output + other.output)


@dataclass(frozen=True)
class Reply:
    """What the agent says, never empty, and the actions that follow, in order.

    Messages come first among the actions, and at most one other action follows them. `latency_ms`
    holds milliseconds since the turn started: `model_first_token` (the first chunk) and `model`
    (the last). It is empty, and `model` None, if no model was called. `refusals` are the reasons
    why tool calls were not executed.
    """

    text: str
    actions: tuple[Action, ...] = ()
    latency_ms: Mapping[str, int] = field(default_factory=lambda: _EMPTY_MAPPING)
    tokens: Tokens = Tokens()
    model: str | None = None
    refusals: tuple[ToolRefusal, ...] = ()
