"""How a carrier takes turns with the caller during a voice WebSocket."""

from dataclasses import dataclass
from typing import Literal, get_args

# What the caller can interrupt the agent with. Twilio and Telnyx use the same values.
InterruptionSource = Literal["none", "dtmf", "speech", "any"]
INTERRUPTION_SOURCES: tuple[str, ...] = get_args(InterruptionSource)
InterruptSensitivity = Literal["low", "medium", "high"]
INTERRUPT_SENSITIVITIES: tuple[str, ...] = get_args(InterruptSensitivity)


@dataclass(frozen=True)
class SpokenLanguage:
    """A language that the agent speaks: a BCP 47 tag, and a carrier's voice or its default."""

    language: str
    voice: str | None = None


@dataclass(frozen=True)
class TurnSettings:
    """The settings of a profile's `turn`. None leaves the carrier's default.

    - `end_ms`: the silence after which the caller's utterance is complete.
    - `interruptible`: what interrupts the agent. `greeting_interruptible` is for the greeting.
    - `interrupt_sensitivity`: how easily speech interrupts the agent.
    - `ignore_backchannel`: words such as "yeah" neither interrupt nor count as an utterance.
    - `turn_detection`: a model decides when the caller has finished.
    - `echo_filter`: the agent's own words are not taken for the caller's.
    - `languages`: the languages that the caller may speak. The carrier reports which one it is. If
      it is empty, the call stays in one language.
    """

    end_ms: int | None = None
    interruptible: InterruptionSource | None = None
    greeting_interruptible: InterruptionSource | None = None
    interrupt_sensitivity: InterruptSensitivity | None = None
    ignore_backchannel: bool | None = None
    turn_detection: bool | None = None
    echo_filter: bool | None = None
    languages: tuple[SpokenLanguage, ...] = ()


# Every setting is the carrier's default.
DEFAULT_TURN_SETTINGS = TurnSettings()
TURN_FIELDS: frozenset[str] = frozenset(TurnSettings.__dataclass_fields__)
