"""The plain values that cross the door of this room."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["receptionist", "sales", "support", "dispatcher", "custom"]
Speaker: TypeAlias = Literal["caller", "agent"]
EndReason: TypeAlias = Literal["agent_hangup", "max_duration", "max_turns"]


@dataclass(frozen=True)
class Profile:
    """What the conversation needs of an AI profile.

    `language` is a BCP 47 tag. `max_turns` counts the caller's turns that get an answer, `model`
    None means the deployment's own, `temperature` None leaves it to the model.
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


@dataclass(frozen=True)
class CallFacts:
    """What is known of the call; `caller_number` None means withheld, `answered_at` is aware."""

    caller_number: str | None
    called_number: str
    answered_at: datetime


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


# Closed: the flow matches on the class. It grows by Transfer and TakeMessage into a union.
Action: TypeAlias = HangUp


@dataclass(frozen=True)
class Reply:
    """What the agent says, never empty, and what is done after it, in order.

    `latency_ms` tells milliseconds since the caller was heard: `model_first_token` and `model` (its
    last), nothing when no model was asked.
    """

    text: str
    actions: tuple[Action, ...] = ()
    latency_ms: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
