"""What crosses the line between a carrier and VCA: plain frozen values."""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

# Some twenty hours of compressed speech, or nearly four of 8 kHz PCM; what is longer is an error.
MAX_RECORDING_BYTES = 200 * 1024 * 1024

EventType = Literal["INITIATED", "RINGING", "ANSWERED", "ENDED", "FAILED"]
CallerId = Literal["shown", "withheld", "unavailable", "other"]
Direction = Literal["inbound", "outbound"]
# What a carrier tells us: a new call rings; one that we had dialled was answered; the caller spoke,
# pressed keys, or broke in on the agent; the carrier comes back for the rest of an answer; its
# socket to us has ended; a leg that it dialled for a transfer has ended; a voicemail or a recording
# is there; the call's state changed; or something that only its adapter has to answer.
CarrierEventKind = Literal[
    "call",
    "answered",
    "speech",
    "keys",
    "interrupted",
    "more",
    "relayed",
    "leg",
    "voicemail",
    "recording",
    "status",
    "progress",
]
LegOutcome = Literal["answered", "busy", "no_answer", "cancelled", "failed"]


@dataclass(frozen=True)
class CarrierRequest:
    """A carrier's HTTP request as it came: signatures are over exactly these bytes.

    `url` is built from the configured public base, never from the request's Host; the names of
    `headers` are in lower case.
    """

    action: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class CarrierEvent:
    """What a carrier's request says, before anybody has verified it.

    `state` is the token that we gave the carrier with an earlier answer; without one the call is
    found by its number. `speech` is what the caller said or, with `interrupted`, what the carrier
    had spoken by then; `keys` of 0-9, * and #. `recording_id` is the carrier's own. `simulated`:
    the call is nobody's telephone, and costs nothing. `request_id` is the carrier's own of this
    request, where it has one. `unanswered`: the call only rings, and nothing can be said yet; its
    carrier tells of the same call again once it was answered. `own_number`: the number of ours at
    this end, whoever called whom, where the carrier says it. `handoff`: with what word we ended the
    socket; empty where the carrier knows of none, because it broke. `adapter_data` is an adapter's
    word to itself, from `parse` to `answer`: nobody else reads it.
    """

    kind: CarrierEventKind
    provider_call_id: str
    called_number: str
    caller: "Caller"
    state: str | None = None
    speech: str = ""
    keys: str = ""
    leg: LegOutcome | None = None
    recording_id: str | None = None
    simulated: bool = False
    event: "CallEvent | None" = None
    request_id: str = ""
    unanswered: bool = False
    own_number: str = ""
    handoff: str = ""
    adapter_data: str = field(default="", repr=False)


@dataclass(frozen=True)
class Caller:
    """Who calls, as far as the network says: a number, or why there is none."""

    number: str | None
    caller_id: CallerId


@dataclass(frozen=True)
class CallMetadata:
    """A call that has been routed to its owner."""

    tenant_id: UUID
    phone_number_id: UUID | None
    caller_number: str | None
    called_number: str
    direction: Direction
    timestamp: datetime
    call_id: str


@dataclass(frozen=True)
class CallEvent:
    """Something that happened to a call.

    `call_id` is the carrier's. `key` identifies the event among its call's, so that a delivery
    that comes twice is one event. `end_reason` is of the product's vocabulary, `end_detail` the
    carrier's own code; both only with ENDED and FAILED.
    """

    event_type: EventType
    call_id: str
    timestamp: datetime
    key: str
    end_reason: str | None = None
    end_detail: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Say:
    """Speak `text` to the caller; `language` is a BCP 47 tag, `voice` the carrier's name of one."""

    text: str
    language: str | None = None
    voice: str | None = None


@dataclass(frozen=True)
class Listen:
    """Wait for the caller to speak, at most `silence_s` seconds."""

    silence_s: int = 10
    language: str | None = None


@dataclass(frozen=True)
class Relay:
    """Connect the caller to our socket at `url`, with `greeting` said first, if there is one.

    From then on what is said goes over the socket, whose `setup` bears the `token`; come back with
    `relayed` when it has ended. `interruptible`: the caller may break in on what is said.
    """

    url: str
    token: str = field(repr=False)
    greeting: str = ""
    language: str | None = None
    voice: str | None = None
    interruptible: bool = True


@dataclass(frozen=True)
class Forward:
    """Connect the caller to `number` and leave the call."""

    number: str


@dataclass(frozen=True)
class Transfer:
    """Dial `number` and connect the caller; come back with a `leg` fact when it has ended.

    `timeout_s` is how long it may ring.
    """

    number: str
    timeout_s: int = 25


@dataclass(frozen=True)
class TakeVoicemail:
    """Record what the caller says after a tone, at most `longest_s`; come back with `voicemail`."""

    longest_s: int = 120


@dataclass(frozen=True)
class SendKeys:
    """Press `keys` of 0-9, * and # on the line, as tones that the other end hears."""

    keys: str


@dataclass(frozen=True)
class Record:
    """Begin to record the call, from here to its end."""


@dataclass(frozen=True)
class Poll:
    """Ask for the rest at once, with `more`: what was said so far is only the beginning."""


@dataclass(frozen=True)
class HangUp:
    """End the call."""


@dataclass(frozen=True)
class Reject:
    """Refuse the call before it is answered, so that nobody pays for it."""

    reason: Literal["busy", "rejected"] = "rejected"


Action = (
    Say
    | Listen
    | Relay
    | Forward
    | Transfer
    | TakeVoicemail
    | SendKeys
    | Record
    | Poll
    | HangUp
    | Reject
)


@dataclass(frozen=True)
class CallReply:
    """What the carrier shall do next, in order. `state` comes back with the call's next request."""

    actions: tuple[Action, ...]
    state: str | None = None


@dataclass(frozen=True)
class OutboundCall:
    """A call that a carrier shall place. `reference` is ours, and can be looked up later.

    `state` comes back with its requests; `timeout_s` is how long it may ring. `begun_at`: when it
    was ordered, once it is asked what came of that.
    """

    reference: str
    number: str
    from_number: str
    callback_url: str
    state: str
    timeout_s: int = 30
    begun_at: datetime | None = None


@dataclass(frozen=True)
class CallStatus:
    """A call as its carrier knows it: still live, or ended by `event`."""

    provider_call_id: str
    event: CallEvent | None = None


@dataclass(frozen=True)
class CarrierResponse:
    """A rendered reply: exactly what goes back to the carrier."""

    body: bytes
    content_type: str
    status: int = 200


@dataclass(frozen=True)
class Recording:
    """Audio that a carrier holds of a call, read once and as it comes.

    `chunks` raises TelephonyError when the carrier fails midway or sends more than
    LARGEST_RECORDING bytes (`bounded` counts); no chunk is longer than 1 MiB. Who stops early
    closes it.
    """

    content_type: str
    chunks: Generator[bytes, None, None]


@dataclass(frozen=True)
class Capabilities:
    """What a carrier can do. A profile that needs more is refused when a number is bound to it.

    `relay`: it speaks what we stream to it by a socket. `webrtc`: a browser can call through it.
    """

    transfer: bool = True
    recording: bool = True
    voicemail: bool = True
    outbound: bool = True
    send_keys: bool = True
    relay: bool = False
    webrtc: bool = False


@dataclass(frozen=True)
class ProviderAccountRef:
    """A carrier as plain code holds it: its name, and the tenant's account with it.

    Of a number the name may be `generic`. Without an account it is the deployment's.
    """

    provider_type: str
    account_id: UUID | None = None


@dataclass(frozen=True)
class WebSocketFormat:
    """What differs from carrier to carrier in the frames of its socket.

    `call_id` is the field of `setup` that holds the carrier's id of the call.
    """

    call_id_field: str


@dataclass(frozen=True)
class AccountField:
    """A part of a tenant's account with a carrier: its name, what it may look like, what it is.

    `secret` ones are kept encrypted and never shown. Without one that is not `required` the carrier
    can do less.
    """

    name: str
    pattern: re.Pattern[str]
    description: str
    secret: bool = True
    required: bool = True


@dataclass(frozen=True)
class Account:
    """A tenant's own account with a carrier, by the names of the adapter's `account_fields`.

    `previous` are those before a change, by which the carrier may still sign for a while.
    """

    fields: Mapping[str, str] = field(repr=False)
    previous: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class NumberSetting:
    """One thing that a carrier holds of a number, in the carrier's words: wanted, and found.

    None: nothing is set.
    """

    name: str
    wanted: str | None
    found: str | None

    @property
    def agrees(self) -> bool:
        return self.wanted == self.found


@dataclass(frozen=True)
class WebRtcCredential:
    """What a browser logs in with at the carrier; whoever has it can call until it ends.

    `identity` is what the carrier calls the browser.
    """

    token: str = field(repr=False)
    identity: str
    expires_at: datetime
