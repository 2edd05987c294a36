"""Translate Telnyx's commands back to actions, the inverse of `command_builder`."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.fakes.carriers.telnyx.accounts import STATE_SIGNER
from tests.support import permits
from vca.telephony.providers.telnyx import client_state
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.turn_settings import TurnSettings
from vca.telephony.types import (
    Action,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
)

# The API's names of commands whose names differ in the SDK.
COMMAND_NAMES = {
    "conversation_relay_start": "start_conversation_relay",
    "conversation_relay_stop": "stop_conversation_relay",
    "gather_stop": "stop_gather",
    "playback_stop": "stop_playback",
    "record_start": "start_recording",
    "transcription_start": "start_transcription",
    "transcription_stop": "stop_transcription",
}
_WITHOUT_ACTION = (
    "answer",
    "stop_gather",
    "stop_playback",
    "start_transcription",
    "stop_transcription",
    "stop_conversation_relay",
)


def read_mark(body: Mapping[str, Any]) -> LegState:
    """Return the client state that a command sets on its leg."""
    mark = client_state.decode_signed(body["client_state"], STATE_SIGNER)
    assert mark is not None
    return mark


def interpret_commands(commands: Iterable[Mapping[str, Any]], phase: str) -> tuple[Action, ...]:
    """Return the actions of commands in order; `phase` is the leg's phase after them."""
    interpreted = [action for fields in commands for action in _interpret_command(fields, phase)]
    return (*interpreted, Poll()) if phase == "more" else tuple(interpreted)


def _interpret_command(fields: Mapping[str, Any], phase: str) -> tuple[Action, ...]:
    match COMMAND_NAMES.get(fields["command"], fields["command"]):
        case "speak":
            return (Say(fields["payload"]),)
        case "start_conversation_relay":
            return (_relay(fields),)
        case "gather_using_speak":
            return Say(fields["payload"]), Listen(fields["timeout_millis"] // 1000)
        case "gather" if phase == "more":
            return ()
        case "gather":
            return (Listen(fields["initial_timeout_millis"] // 1000),)
        case "transfer" if phase == "transfer":
            return (permits.transfer(fields["to"], fields["timeout_secs"]),)
        case "transfer":
            return (permits.forward(fields["to"]),)
        case "start_recording" if fields.get("play_beep"):
            return (TakeVoicemail(fields["max_length"]),)
        case "start_recording":
            return (Record(),)
        case "send_dtmf":
            return (SendKeys(fields["digits"]),)
        case "reject":
            return (Reject(),)
        case "hangup":
            return (HangUp(),)
        case command:
            assert command in _WITHOUT_ACTION, command
            return ()


def _relay(fields: Mapping[str, Any]) -> Relay:
    return Relay(
        fields["url"],
        fields["custom_parameters"]["token"],
        fields.get("greeting", ""),
        fields["language"],
        fields["voice"],
        TurnSettings(
            interruptible=None if fields["interruptible"] == "any" else fields["interruptible"],
            greeting_interruptible=fields.get("interruptible_greeting"),
        ),
    )
