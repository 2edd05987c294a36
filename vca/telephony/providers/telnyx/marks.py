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
COMMANDS = frozenset(
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
Order = Mapping[str, Any]
_LONGEST = 32 * 1024
_CALL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=~-]{0,255}", re.ASCII)


@dataclass(frozen=True)
class Mark:
    """One leg's. `call` is the call that it belongs to: another leg's, of a transfer's target.

    `own_number` is the tenant's, of a call that we placed; `reference` ours of it. `rest` are
    commands that wait until the leg has spoken, and `after` is its phase then.
    """

    phase: Phase
    state: str | None = None
    call: str = ""
    own_number: str = ""
    reference: str = ""
    rest: tuple[Order, ...] = ()
    after: Phase = "done"

    def encoded(self) -> str:
        """As Telnyx takes it: base64."""
        said = {name: value for name, value in vars(self).items() if value}
        return base64.b64encode(json.dumps(said)).decode()


def read(text: object) -> Mark | None:
    """The mark in a `client_state`; None without one, and for one that is not ours."""
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST:
        return None
    try:
        said = json.strict_loads(base64.b64decode(text, validate=True))
    except ValueError:
        return None
    return _mark(said) if isinstance(said, dict) else None


def is_call(text: str) -> bool:
    """Whether this can be the id of a call, and stand in a URL."""
    return _CALL.fullmatch(text) is not None


def _mark(said: dict[str, Any]) -> Mark | None:
    known: dict[str, Any] = {
        name: said.pop(name, "") for name in ("state", "call", "own_number", "reference")
    }
    phase, after, rest = said.pop("phase", ""), said.pop("after", "done"), said.pop("rest", [])
    texts_are = all(isinstance(text, str) and len(text) <= 2_000 for text in known.values())
    phases_are = {str(phase), str(after)} <= set(get_args(Phase))
    if said or not texts_are or not phases_are or not _are_orders(rest):
        return None
    if known["call"] and not is_call(known["call"]):
        return None
    known["state"] = known["state"] or None
    return Mark(phase=phase, after=after, rest=tuple(rest), **known)


def _are_orders(rest: object) -> bool:
    return isinstance(rest, list) and all(
        isinstance(order, dict) and order.get("command") in COMMANDS for order in rest
    )
