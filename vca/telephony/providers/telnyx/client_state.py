"""What a leg of a call carries for us in Telnyx's `client_state`: our token and the leg's phase.

Neither Telnyx nor this adapter stores anything between two commands. The context for the next event
travels with the leg and comes back with the event. Browsers can set a `client_state` too, so ours
is signed as a whole and bound to its leg; any other counts as none.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from vca.kit import json
from vca.telephony.state_signature import StateSigner

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
_PURPOSE = "telnyx leg"
_MAX_CHARS = 32 * 1024
# Between the reference, the session and the signature.
_SEPARATORS = 2
_CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=~-]{0,255}", re.ASCII)


@dataclass(frozen=True)
class Leg:
    """A leg by Telnyx's ids. `call` is empty in the events that name no call."""

    call: str
    session: str


@dataclass(frozen=True)
class LegState:
    """The state of one leg. Its field names are the keys of the encoded JSON.

    `call` is the call that the leg belongs to; for the target of a transfer, another leg's.
    `session` is Telnyx's id of all legs of the call, if it was known. `own_number` is the tenant's
    number of a call that we placed, and `reference` our reference for that call. `rest` are
    commands that wait until the leg has spoken, and `after` is its phase then.
    """

    phase: Phase
    state: str | None = None
    call: str = ""
    own_number: str = ""
    reference: str = ""
    rest: tuple[Command, ...] = ()
    after: Phase = "done"
    session: str = ""

    def encode(self, signer: StateSigner) -> str:
        """Return the signed state as Telnyx takes it: base64.

        The session and the signature follow the reference in its field, because the previous
        release ignores a state with other fields.
        """
        fields = {name: value for name, value in vars(self).items() if value and name != "session"}
        signature = signer.sign(_PURPOSE, self._signed_values())
        fields["reference"] = ".".join((self.reference, self.session, signature))
        return base64.b64encode(json.dumps(fields)).decode()

    def has_signature(self, signature: str, signer: StateSigner) -> bool:
        """Return whether we have signed this state."""
        return signer.is_valid(signature, _PURPOSE, self._signed_values())

    def belongs_to(self, leg: Leg) -> bool:
        """Return whether the state was made for this leg.

        When we dial, Telnyx has not named the leg yet: the state of a leg that we dial for a
        transfer is bound to the session, and that of a call that we place to its row in the
        database.
        """
        if self.phase == "dial":
            return not self.call
        is_same_session = bool(self.session) and self.session == leg.session
        if self.phase == "target":
            return is_same_session and leg.call not in ("", self.call)
        return leg.call == self.call if leg.call else is_same_session

    def _signed_values(self) -> list[Any]:
        return [
            *(self.phase, self.state, self.call, self.own_number, self.reference),
            *(self.rest, self.after, self.session),
        ]


def decode(encoded_state: object, signer: StateSigner, leg: Leg) -> LegState | None:
    """Return the state in a leg's `client_state`, or None if we have not made it for this leg."""
    leg_state = decode_signed(encoded_state, signer)
    return leg_state if leg_state is not None and leg_state.belongs_to(leg) else None


def decode_signed(encoded_state: object, signer: StateSigner) -> LegState | None:
    """Return the state in a `client_state`, whichever leg it is for, or None if it is not ours."""
    leg_state = decode_unsigned(encoded_state)
    if leg_state is None or leg_state.reference.count(".") < _SEPARATORS:
        return None
    reference, session, signature = leg_state.reference.rsplit(".", _SEPARATORS)
    leg_state = replace(leg_state, reference=reference, session=session)
    return leg_state if leg_state.has_signature(signature, signer) else None


def decode_unsigned(encoded_state: object) -> LegState | None:
    """Return an unsigned state, as the previous release made them; anybody may have made it.

    `reference` is the whole text of its field.
    """
    if not isinstance(encoded_state, str) or not 0 < len(encoded_state) <= _MAX_CHARS:
        return None
    try:
        fields = json.strict_loads(base64.b64decode(encoded_state, validate=True))
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
        isinstance(command, dict)
        and isinstance(command.get("command"), str)  # a list has no hash
        and command["command"] in DEFERRABLE_COMMANDS
        for command in commands
    )
