"""Values that the contract tests of telephony adapters share."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings

from vca.telephony.dial_permit import DialPermit
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
# Where a telephone network or a SIP domain writes the called number. The tests call NUMBER.
URIS_OF_NUMBER = (
    f"sip:{NUMBER}@a.sip.twilio.com",
    f"SIP:{NUMBER}@a.sip.twilio.com;user=phone",
    f"sips:{NUMBER};npdi=yes@a.sip.twilio.com:5061;transport=tls",
    f"sip:{NUMBER[1:]}@a.sip.twilio.com",
    f"sip:{NUMBER[2:]}@a.sip.twilio.com;transport=udp",
    f"sip:%2B{NUMBER[1:]}@a.sip.twilio.com",
    f"sip:{NUMBER}:password@a.sip.twilio.com",
    f"tel:{NUMBER}",
    "tel:+1-415-555-0100",
    "tel:415-555-0100;phone-context=+1",
    f"<sip:{NUMBER}@a.sip.twilio.com>;tag=1",
    f'"Front <desk>" <sip:{NUMBER}@a.sip.twilio.com>',
)
# Members of a JSON object that no adapter reads.
UNREAD_MEMBERS: Mapping[str, bytes] = {
    "Latin-1": b'"caller_name":"Jos\xe9"',
    "half a surrogate pair": b'"caller_name":"\\ud83d"',
    "NUL": b'"caller_name":"\\u0000","n\\u0000":1',
    "a line end": b'"caller_name":"Jos\n"',
    "repeated": b'"caller_name":"A","caller_name":"B"',
    "infinite": b'"score":1e999,"other":NaN',
    "5,000 digits": b'"score":' + b"9" * 5_000,
    "100 levels": b'"headers":' + b"[" * 100 + b"]" * 100,
    "6,000 members": b",".join(b'"m%d":1' % number for number in range(6_000)),
    "50,000 characters": b'"add_ons":"' + b"x" * 50_000 + b'"',
}
# Fields of a form that no adapter reads.
UNREAD_FIELDS: Mapping[str, bytes] = {
    "Latin-1": b"CallerName=Jos%E9",
    "Latin-1 that is not encoded": b"CallerName=Jos\xe9",
    "NUL": b"CallerName=%00",
    "a name that is not UTF-8": b"%ff%fe=1",
    "repeated": b"SipHeader_X-Tag=b&SipHeader_X-Tag=a&SipHeader_X-Tag=b",
    "without a value": b"CallerName",
    "without a name": b"=1&=&&",
    "not percent-encoded": b"CallerName=100%&CallerCity=%zz",
    "3,000 fields": b"&".join(b"F%d=1" % number for number in range(3_000)),
    "50,000 characters": b"AddOns=" + b"x" * 50_000,
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
        "permit": DialPermit(overrides.pop("number", CALLER)),
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
            return Forward, action.permit.number
        case Transfer():
            return Transfer, action.permit.number, action.timeout_s
        case TakeVoicemail():
            return TakeVoicemail, action.longest_s
        case SendKeys():
            return SendKeys, action.keys
    return (type(action),)
