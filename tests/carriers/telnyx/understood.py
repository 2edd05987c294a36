"""Commands as whoever hears the call understands them: the other way from `orders`."""

from collections.abc import Iterable, Mapping
from typing import Any

from vca.telephony.providers.telnyx import client_state
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import (
    Action,
    Forward,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

# What the API calls a command, where the SDK calls it otherwise.
NAMES = {
    "conversation_relay_start": "start_conversation_relay",
    "conversation_relay_stop": "stop_conversation_relay",
    "gather_stop": "stop_gather",
    "playback_stop": "stop_playback",
    "record_start": "start_recording",
    "transcription_start": "start_transcription",
    "transcription_stop": "stop_transcription",
}
_SILENT = (
    "answer",
    "stop_gather",
    "stop_playback",
    "start_transcription",
    "stop_transcription",
    "stop_conversation_relay",
)


def mark_of(body: Mapping[str, Any]) -> LegState:
    """What a command leaves with its leg."""
    mark = client_state.decode(body["client_state"])
    assert mark is not None
    return mark


def actions(orders: Iterable[Mapping[str, Any]], phase: str) -> tuple[Action, ...]:
    """What commands in their order do; `phase` is what the leg is about after them."""
    found = [action for order in orders for action in _actions(order, phase)]
    return (*found, Poll()) if phase == "more" else tuple(found)


def _actions(order: Mapping[str, Any], phase: str) -> tuple[Action, ...]:
    match NAMES.get(order["command"], order["command"]):
        case "speak":
            return (Say(order["payload"]),)
        case "start_conversation_relay":
            return (_relay(order),)
        case "gather_using_speak":
            return Say(order["payload"]), Listen(order["timeout_millis"] // 1000)
        case "gather" if phase == "more":
            return ()
        case "gather":
            return (Listen(order["initial_timeout_millis"] // 1000),)
        case "transfer" if phase == "transfer":
            return (Transfer(order["to"], order["timeout_secs"]),)
        case "transfer":
            return (Forward(order["to"]),)
        case "start_recording" if order.get("play_beep"):
            return (TakeVoicemail(order["max_length"]),)
        case "start_recording":
            return (Record(),)
        case "send_dtmf":
            return (SendKeys(order["digits"]),)
        case "reject":
            return (Reject(),)
        case "hangup":
            return (HangUp(),)
        case command:
            assert command in _SILENT, command
            return ()


def _relay(order: Mapping[str, Any]) -> Relay:
    return Relay(
        order["url"],
        order["custom_parameters"]["token"],
        order.get("greeting", ""),
        order["language"],
        order["voice"],
        order["interruptible"] == "any",
    )
