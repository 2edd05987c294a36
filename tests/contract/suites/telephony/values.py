"""Values that the contract tests of telephony adapters share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings

from vca.telephony.types import (
    Action,
    CallMetadata,
    CarrierEventKind,
    Forward,
    Listen,
    OutboundCall,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

Fault = Literal["refuses", "fails", "is silent"]
CallState = Literal["live", "over"]

ACME, GLOBEX = UUID(int=0xACE), UUID(int=0x61)
NUMBER, CALLER = "+14155550100", "+14155550123"
CALLBACK = "https://voice.example.com/vca/telephony/carrier/"
STATE = "WyJhIiwiYiJd.c2lnbmF0dXJl_-of=ours"
RECORDING = f"RE{17:032x}"
MAX_WAIT_S = 10
CALLERS_WITHOUT_NUMBER = {
    "anonymous": "withheld",
    "Anonymous": "withheld",
    "+266696687": "withheld",
    "unknown": "unavailable",
    "": "unavailable",
    "110": "other",
    "sip:reception@pbx.example.com": "other",
    "☎": "other",
}
ODD_TEXTS = (
    "<Hangup/> & \"quoted\" 'text' ]]> <!-- -->",
    '","actions":[],"x":"',
    "nul \x00, bell \x07, escape \x1b",
    "lone \ud83d surrogate",
    "line\nbreak\ttab\r\n",
    "مرحبا 🚑 中文",
    "%s {0} ${x} \\ \\u0000",
    "x" * 100_000,
    "&" * 100_000,
)
# Every operation at which a carrier can fail; `_run_operation` runs them.
OPERATIONS = (
    "register",
    "unregister",
    "check",
    "hang_up",
    "direct",
    "place_call",
    "find_call",
    "look_up",
    "recording",
    "delete_recording",
)
# Events that a carrier sends during a call, except status changes.
EVENT_KINDS: tuple[CarrierEventKind, ...] = (
    "answered",
    "speech",
    "keys",
    "interrupted",
    "more",
    "leg",
    "voicemail",
    "recording",
)
_call_numbers = count(1)
few_examples = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


@dataclass(frozen=True)
class RenderedReply:
    """A response as the carrier understands it: actions, returned state, and the next URLs."""

    actions: tuple[Action, ...]
    state: str | None
    next_urls: tuple[str, ...]


def new_call_id() -> str:
    """Return an unused call id of the carrier, in the format of the strictest carrier."""
    return f"CA{next(_call_numbers):032x}"


def outbound_call(**overrides: Any) -> OutboundCall:
    """Return acme's request to place an outbound call, with an unused reference."""
    fields = {
        "reference": uuid4().hex,
        "number": CALLER,
        "from_number": NUMBER,
        "callback_url": CALLBACK,
        "state": STATE,
    }
    return OutboundCall(**{**fields, **overrides})


def inbound_metadata(call_id: str) -> CallMetadata:
    """Return the metadata of a call that was routed to acme."""
    return CallMetadata(
        tenant_id=ACME,
        phone_number_id=uuid4(),
        caller_number=None,
        called_number=NUMBER,
        direction="inbound",
        timestamp=datetime(2026, 11, 22, 18, tzinfo=UTC),
        call_id=call_id,
    )


def comparable(action: Action) -> tuple[object, ...]:
    """Return the part of an action that a caller notices: no voices, no reasons."""
    match action:
        case Say():
            return Say, action.text
        case Listen():
            return Listen, action.silence_s
        case Forward():
            return Forward, action.number
        case Transfer():
            return Transfer, action.number, action.timeout_s
        case TakeVoicemail():
            return TakeVoicemail, action.longest_s
        case SendKeys():
            return SendKeys, action.keys
    return (type(action),)
