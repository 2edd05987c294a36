"""What a leg of a call carries for us, as its `client_state`: our token, and what it is about.

Neither Telnyx nor this adapter keeps anything between two commands. What the next event must be
understood by goes with the leg and comes back with it, under the carrier's signature.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vca.kit import json

# What the leg does now: it rings to us (`ring`) or to whom we call (`dial`), its caller is listened
# to, here or through a socket (`relay`), it speaks and does the `rest` `then`, it speaks and comes
# back for `more`, it waits for the `target` of a transfer, leaves a `voicemail`, was forwarded
# (`left`), or nothing that we wait for.
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
# The commands that may wait in a mark, by the names that the SDK gives them.
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
    """One leg's. `call` is the call that it belongs to: another leg's, of a transfer's target.

    `own_number` is the tenant's, of a call that we placed; `reference` ours of it. `rest` are
    commands that wait until the leg has spoken, and `after` is its phase then.
    """

    phase: Phase
    state: str | None = None
    call: str = ""
    own_number: str = ""
    reference: str = ""
    rest: tuple[Command, ...] = ()
    after: Phase = "done"

    def encode(self) -> str:
        """As Telnyx takes it: base64."""
        fields = {name: value for name, value in vars(self).items() if value}
        return base64.b64encode(json.dumps(fields)).decode()


def decode(text: object) -> LegState | None:
    """The mark in a `client_state`; None without one, and for one that is not ours."""
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_CHARS:
        return None
    try:
        fields = json.strict_loads(base64.b64decode(text, validate=True))
    except ValueError:
        return None
    return _parse_leg_state(fields) if isinstance(fields, dict) else None


def is_call_id(text: str) -> bool:
    """Whether this can be the id of a call, and stand in a URL."""
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
