"""The plain values that this package takes and returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
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
# The first minute of a span of a day, and the minute after it, which may be on the next day. A
# tuple, because schedules are keys of caches and Python hashes dataclasses slowly.
MinuteSpan: TypeAlias = tuple[int, int]
_EMPTY_MAPPING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Profile:
    """The part of an AI profile that the conversation needs.

    `language` is a BCP 47 tag. `max_turns` counts the caller's turns that get an answer. `model`
    None means the deployment's default, `temperature` None the model's default. `tools` are the
    names of the tools that the model may call. `transfer_targets` maps names to descriptions: the
    phone numbers behind them never enter this package. `phrases` are the tenant's own texts for
    sentences of `localised_phrases`, by name, in the profile's language.
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
    phrases: Mapping[str, str] = field(default_factory=lambda: _EMPTY_MAPPING)


@dataclass(frozen=True)
class Holiday:
    """A date with its own hours; it is closed without spans."""

    date: date
    spans: tuple[MinuteSpan, ...] = ()
    name: str | None = None


@dataclass(frozen=True)
class Schedule:
    """When a business is open: the spans of each weekday from Monday, and the next holidays.

    `weekly` None means at all times except on holidays.
    """

    weekly: tuple[tuple[MinuteSpan, ...], ...] | None
    holidays: tuple[Holiday, ...] = ()


@dataclass(frozen=True)
class OpeningHours:
    """A business's schedule in its time zone, and its state now.

    `opens_at` is in the time zone; it is None while the business is open, or if it never opens.
    """

    schedule: Schedule
    time_zone: str
    is_open: bool
    opens_at: datetime | None = None


@dataclass(frozen=True)
class CallFacts:
    """The facts of the call.

    `caller_number` None means withheld; `answered_at` is timezone-aware. `variables` are the prompt
    variables of the tenant and the call's metadata, by name. `tokens_spent` counts the tokens of
    the call's earlier turns. `hours` None means that no opening hours are set.
    """

    caller_number: str | None
    called_number: str
    answered_at: datetime
    variables: Mapping[str, str] = field(default_factory=lambda: _EMPTY_MAPPING)
    tokens_spent: int = 0
    hours: OpeningHours | None = None


@dataclass(frozen=True)
class Limits:
    """The limits of a call besides those of its profile; None means no limit."""

    tokens: int | None = None


@dataclass(frozen=True)
class ToolCall:
    """A tool call as the model wrote it: name and JSON arguments, not validated.

    `call_id` connects the call with its result; it is the model's, or None if the model sent none.
    `source_text` is the part of the answer's text that the call was read from, empty for a call
    that the model made in the way that its API provides for.
    """

    name: str
    arguments: str
    call_id: str | None = field(default=None, compare=False)
    source_text: str = ""


@dataclass(frozen=True)
class Message:
    """One message of the conversation as the model sees it.

    `tool_calls` are those that the agent made after the text; each has a `call_id`, and a
    `ToolResult` with that id follows the message.
    """

    speaker: Speaker
    text: str
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class ToolResult:
    """What a tool call led to, as the model sees it. Models treat the text as data."""

    call_id: str
    name: str
    text: str
    speaker: Literal["tool"] = field(default="tool", init=False)


@dataclass(frozen=True)
class RefusedTool:
    """A tool call that was not executed; `name` is what the model wrote, cleaned and cut."""

    name: str
    reason: ToolRefusal


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
    """What the agent says and the actions that follow, in order.

    `text` is empty only if the model said nothing and there are actions. `is_silent` means that the
    model said nothing itself: once the actions are done, say what `action_phrases` selects.

    Messages come first among the actions, and at most one other action follows them. `latency_ms`
    holds milliseconds since the turn started: `model_first_token` (the first chunk) and `model`
    (the last). It is empty, and `model` None, if no model was called. `refused_tools` are the tool
    calls that were not executed.
    """

    text: str
    actions: tuple[Action, ...] = ()
    latency_ms: Mapping[str, int] = field(default_factory=lambda: _EMPTY_MAPPING)
    tokens: Tokens = Tokens()
    model: str | None = None
    refused_tools: tuple[RefusedTool, ...] = ()
    is_silent: bool = False
