"""What a leg of a call carries for us in Telnyx's `client_state`: our token and the leg's phase.

Neither Telnyx nor this adapter stores anything between two commands. The context for the next event
travels with the leg and comes back with the event, under the carrier's signature.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vca.kit import json

# What the leg is doing:
#   ring       an inbound call rings
#   dial       a call that we place rings
#   listening  we listen to the caller
#   relay      the same, through a voice WebSocket
#   then       we speak, and send the commands in `rest` afterwards
#   more       we speak, and poll for more afterwards
#   transfer   it waits for the target of a transfer
#   target     it is the target of a transfer
#   voicemail  the caller leaves a voicemail
#   left       the call was forwarded
#   done       nothing that we wait for
Phase = Literal[
    "ring",
    "dial",
    "listening",
    "relay",
    "then",
    "more",
    "transfer",
    "target",
    "voicemail",
    "left",
    "done",
]
# The commands that may wait in a leg's state, by their names in the SDK.
DEFERRABLE_COMMANDS = frozenset(
    {
        "gather",
        "gather_using_speak",
        "hangup",
        "reject",
        "send_dtmf",
        "speak",
        "start_conversation_relay",
        "start_recording",
        "stop_transcription",
        "transfer",
    }
)
Command = Mapping[str, Any]
_MAX_CHARS = 32 * 1024
_CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=~-]{0,255}", re.ASCII)


@dataclass(frozen=True)
class LegState:
    """The state of one leg. Its field names are the keys of the encoded JSON.

    `call` is the call that the leg belongs to; for the target of a transfer, another leg's.
    `own_number` is the tenant's number of a call that we placed, and `reference` our reference for
    that call. `rest` are commands that wait until the leg has spoken, and `after` is its phase
    then.
    """

    phase: Phase
    state: str | None = None
    call: str = ""
    own_number: str = ""
    reference: str = ""
    rest: tuple[Command, ...] = ()
    after: Phase = "done"

    def encode(self) -> str:
        """Return the state as Telnyx takes it: base64."""
        fields = {name: value for name, value in vars(self).items() if value}
        return base64.b64encode(json.dumps(fields)).decode()


def decode(text: object) -> LegState | None:
    """Return the state in a `client_state`, or None if there is none or it is not ours."""
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_CHARS:
        return None
    try:
        fields = json.strict_loads(base64.b64decode(text, validate=True))
    except ValueError:
        return None
    return _parse_leg_state(fields) if isinstance(fields, dict) else None


def is_call_id(text: str) -> bool:
    """Return whether this can be the id of a call and part of a URL."""
    return _CALL_ID.fullmatch(text) is not None


def _parse_leg_state(fields: dict[str, Any]) -> LegState | None:
    texts: dict[str, Any] = {
        name: fields.pop(name, "") for name in ("state", "call", "own_number", "reference")
    }
    phase, after, rest = (
        fields.pop("phase", ""),
        fields.pop("after", "done"),
        fields.pop("rest", []),
    )
    texts_are_valid = all(isinstance(text, str) and len(text) <= 2_000 for text in texts.values())
    phases_are_valid = {str(phase), str(after)} <= set(get_args(Phase))
    if fields or not texts_are_valid or not phases_are_valid or not _are_commands(rest):
        return None
    if texts["call"] and not is_call_id(texts["call"]):
        return None
    texts["state"] = texts["state"] or None
    return LegState(phase=phase, after=after, rest=tuple(rest), **texts)


def _are_commands(commands: object) -> bool:
    return isinstance(commands, list) and all(
        isinstance(command, dict) and command.get("command") in DEFERRABLE_COMMANDS
        for command in commands
    )
