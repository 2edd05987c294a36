"""A reply in Telnyx's commands: pure, in their order, and what of them has to wait.

Telnyx carries out a command as it comes and tells when it has ended: `hangup` behind `speak` would
cut the words off. So what follows words goes into the leg's mark, and is sent when they were said.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vca.kit.text import clean
from vca.telephony.providers.telnyx import speech
from vca.telephony.providers.telnyx.marks import Order, Phase
from vca.telephony.types import (
    Action,
    CallReply,
    ComeBack,
    Forward,
    HangUp,
    Listen,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

LONGEST_SENTENCE = 3_000
MOST_KEYS = 32
_BETWEEN_KEYS_MS = 2_000
# A gather as a pause that tells us its end.
_MOMENT_MS = 500
_RINGS_S = (5, 600)
_PHASES: dict[type[Action], Phase] = {
    Listen: "listening",
    Relay: "relay",
    Transfer: "transfer",
    Forward: "left",
    TakeVoicemail: "voicemail",
    ComeBack: "more",
}
# Whom the caller talks to then is not ours to hear.
_UNHEARD: Order = {"command": "stop_transcription"}
_REJECTIONS = {"busy": "USER_BUSY", "rejected": "CALL_REJECTED"}


@dataclass(frozen=True)
class Plan:
    """Commands in their order; `phase` is what the leg is about once all of them are given."""

    orders: tuple[Order, ...]
    phase: Phase
    state: str | None = None

    def staged(self) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
        """What can be sent at once, and what has to wait until the leg has spoken."""
        for at, order in enumerate(self.orders[:-1], start=1):
            if order["command"] == "speak":
                return self.orders[:at], self.orders[at:]
        return self.orders, ()


def of(reply: CallReply) -> Plan:
    """The whole reply."""
    orders: list[Order] = []
    for action in reply.actions:
        if isinstance(action, Transfer | Forward):
            orders.append(_UNHEARD)
        if isinstance(action, Listen) and _speaks(orders):
            orders[-1] = {**orders[-1], **_heard_after_words(action)}
        elif not (isinstance(action, ComeBack) and _speaks(orders)):
            orders.append(_order(action))
    last = reply.actions[-1] if reply.actions else None
    phase = _PHASES.get(type(last), "done") if last is not None else "done"
    return Plan(tuple(orders), phase, reply.state)


def audible(plan: Plan) -> Plan:
    """The plan without words that are none: Telnyx refuses to say nothing."""
    orders = [_voiced(order) for order in plan.orders]
    kept = tuple(order for order in orders if order is not None)
    if plan.phase == "more" and not _speaks(kept):
        kept = (*kept, _moment()) if not kept or kept[-1]["command"] != "gather" else kept
    return replace(plan, orders=kept)


def _speaks(orders: Sequence[Order]) -> bool:
    return bool(orders) and orders[-1]["command"] == "speak"


def _voiced(order: Order) -> Order | None:
    if order.get("payload", "…").strip():
        return order
    if order["command"] == "speak":
        return None
    wordless = ("payload", "payload_type", "voice", "maximum_tries", "timeout_millis")
    silence_ms = order["timeout_millis"]
    kept = {name: value for name, value in order.items() if name not in wordless}
    return {**kept, "command": "gather", **_silence(silence_ms)}


def _order(action: Action) -> dict[str, Any]:
    match action:
        case Say():
            return _speak(action)
        case Listen():
            return {"command": "gather", **_silence(action.silence_s * 1000), **_keys()}
        case Relay():
            return _relay(action)
        case ComeBack():
            return _moment()
        case Transfer():
            rings_s = max(_RINGS_S[0], min(action.timeout_s, _RINGS_S[1]))
            return {"command": "transfer", "to": action.number, "timeout_secs": rings_s}
        case Forward():
            return {"command": "transfer", "to": action.number}
        case TakeVoicemail():
            return {**_record("single"), "play_beep": True, "max_length": action.longest_s}
        case Record():
            return _record("dual")
        case SendKeys():
            return {"command": "send_dtmf", "digits": action.keys}
        case Reject():
            return {"command": "reject", "cause": _REJECTIONS[action.reason]}
        case HangUp():
            return {"command": "hangup"}


def _speak(say: Say) -> dict[str, Any]:
    return {
        "command": "speak",
        "payload": clean(say.text, longest=LONGEST_SENTENCE),
        "payload_type": "text",
        "voice": speech.voice(say.voice, say.language),
    }


def _relay(relay: Relay) -> dict[str, Any]:
    greeting = clean(relay.greeting, longest=LONGEST_SENTENCE)
    return {
        "command": "start_conversation_relay",
        "url": relay.url,
        **({"greeting": greeting} if greeting.strip() else {}),
        "language": relay.language or "en",
        "voice": speech.voice(relay.voice, relay.language),
        "interruptible": "any" if relay.interruptible else "none",
        "dtmf_detection": True,
        "custom_parameters": {"token": relay.token},
    }


def _heard_after_words(listen: Listen) -> dict[str, Any]:
    """Words that can be interrupted by keys, and then the same silence."""
    silence_ms = listen.silence_s * 1000
    said_once = {"maximum_tries": 1, "timeout_millis": silence_ms}
    return {"command": "gather_using_speak", **said_once, **_keys()}


def _silence(silence_ms: int) -> dict[str, int]:
    """How long a gather waits for the first key, and how long for all of them."""
    whole_ms = silence_ms + MOST_KEYS * _BETWEEN_KEYS_MS
    return {"initial_timeout_millis": silence_ms, "timeout_millis": whole_ms}


def _keys() -> dict[str, Any]:
    """Every key counts, # too; they are told once no more come."""
    return {
        "minimum_digits": 1,
        "maximum_digits": MOST_KEYS,
        "inter_digit_timeout_millis": _BETWEEN_KEYS_MS,
        "valid_digits": "0123456789*#",
        "terminating_digit": "",
    }


def _moment() -> dict[str, Any]:
    return {"command": "gather", **_silence(_MOMENT_MS), **_keys()}


def _record(channels: str) -> dict[str, Any]:
    return {"command": "start_recording", "format": "wav", "channels": channels}
