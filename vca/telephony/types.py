"""Frozen values that pass between a carrier adapter and the rest of VCA."""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from vca.telephony.dial_permit import DialPermit
from vca.telephony.languages import LanguageTable
from vca.telephony.turn_settings import DEFAULT_TURN_SETTINGS, TurnSettings

# About 20 hours of compressed speech, or nearly 4 hours of 8 kHz PCM. More is an error.
MAX_RECORDING_BYTES = 200 * 1024 * 1024

EventType = Literal["INITIATED", "RINGING", "ANSWERED", "ENDED", "FAILED"]
CallerId = Literal["shown", "withheld", "unavailable", "other"]
Direction = Literal["inbound", "outbound"]
# What a carrier reports:
#   call         an inbound call rings
#   answered     a call that we placed was answered
#   speech       the caller spoke, or was silent
#   keys         the caller pressed keys
#   interrupted  the caller barged in
#   more         the carrier polls for the rest of an answer
#   relayed      the carrier's WebSocket to us has ended
#   leg          the leg that was dialled for a transfer has ended
#   voicemail    a voicemail is available
#   recording    a recording is available
#   status       the call's state changed
#   due          commands that dial a number are due, and their permission has expired
#   progress     only the adapter has to react
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
    "due",
    "progress",
]
LegOutcome = Literal["answered", "busy", "no_answer", "cancelled", "failed"]


@dataclass(frozen=True)
class CarrierRequest:
    """A carrier's HTTP request as received; signatures cover exactly these bytes.

    `url` is built from the configured public base URL, never from the request's Host header. The
    names of `headers` are in lower case.
    """

    action: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class CarrierEvent:
    """The content of a carrier's request, not yet verified.

    - `state`: the token of an earlier reply. Without one the call is routed by its number.
    - `speech`: what the caller said. For `interrupted`, what the carrier had spoken until then.
    - `keys`: the keys that the caller pressed, of 0-9, * and #.
    - `recording_id`: the carrier's own id of the recording.
    - `simulated`: no real telephone takes part, and the call costs nothing.
    - `request_id`: the carrier's own id of this request, if it has one.
    - `unanswered`: the call only rings; the carrier reports it again when it has been answered.
    - `own_number`: our number in the call, if the carrier reports it.
    - `handoff`: the value with which we ended the WebSocket. Empty if its connection broke.
    - `deferred_actions`, `deferred_numbers`: the commands that handling sends, and what they dial.
    - `unsigned`: the event with a state that we have not signed, as the previous release made them.
    - `adapter_data`: data that an adapter passes from `parse` to `handle`. Nothing else reads it.
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
    deferred_actions: tuple[str, ...] = ()
    deferred_numbers: tuple[str, ...] = ()
    unsigned: "CarrierEvent | None" = field(default=None, repr=False)
    adapter_data: object = field(default=None, repr=False)


@dataclass(frozen=True)
class Caller:
    """The caller as the network reports it: a number, or the reason why there is none."""

    number: str | None
    caller_id: CallerId


@dataclass(frozen=True)
class CallMetadata:
    """A call that has been routed to its tenant."""

    tenant_id: UUID
    phone_number_id: UUID | None
    caller_number: str | None
    called_number: str
    direction: Direction
    timestamp: datetime
    call_id: str


@dataclass(frozen=True)
class CallEvent:
    """An event of a call.

    `call_id` is the carrier's. `key` identifies the event within its call, so that a repeated
    delivery is one event. `end_reason` is from the product's vocabulary and `end_detail` is the
    carrier's own code; both are set only for ENDED and FAILED.
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
    """Speak `text` to the caller. `language` is a BCP 47 tag, `voice` is a carrier's name."""

    text: str
    language: str | None = None
    voice: str | None = None


@dataclass(frozen=True)
class Listen:
    """Wait for the caller to speak, for at most `silence_s` seconds."""

    silence_s: int = 10
    language: str | None = None
    turn: TurnSettings = DEFAULT_TURN_SETTINGS


@dataclass(frozen=True)
class Relay:
    """Connect the caller to our voice WebSocket at `url`, after speaking the `greeting`, if any.

    From then on the conversation uses the WebSocket, whose `setup` frame contains the `token`. The
    carrier reports `relayed` when it has ended.
    """

    url: str
    token: str = field(repr=False)
    greeting: str = ""
    language: str | None = None
    voice: str | None = None
    turn: TurnSettings = DEFAULT_TURN_SETTINGS


@dataclass(frozen=True)
class Forward:
    """Dial the permitted number, connect the caller and leave the call."""

    permit: DialPermit


@dataclass(frozen=True)
class Transfer:
    """Dial the permitted number and connect the caller.

    The carrier reports `leg` when that leg has ended. `timeout_s` is the maximum ringing time.
    """

    permit: DialPermit
    timeout_s: int = 25


@dataclass(frozen=True)
class TakeVoicemail:
    """Record the caller after a tone, for at most `longest_s` seconds, then report `voicemail`."""

    longest_s: int = 120


@dataclass(frozen=True)
class SendKeys:
    """Send `keys` (0-9, * and #) as DTMF tones to the other party."""

    keys: str


@dataclass(frozen=True)
class Record:
    """Start recording the call, until its end."""


@dataclass(frozen=True)
class Poll:
    """Request the rest at once, with `more`: the text so far is only the beginning."""


@dataclass(frozen=True)
class HangUp:
    """End the call."""


@dataclass(frozen=True)
class Reject:
    """Reject the call before it is answered, so that it costs nothing."""

    reason: Literal["busy", "rejected"] = "rejected"


# Actions that dial no number.
PlainAction = Say | Listen | Relay | TakeVoicemail | SendKeys | Record | Poll | HangUp | Reject
Action = PlainAction | Forward | Transfer


@dataclass(frozen=True)
class CallReply:
    """The carrier's next actions, in order. `state` comes back with the call's next request."""

    actions: tuple[Action, ...]
    state: str | None = None


@dataclass(frozen=True)
class OutboundCall:
    """A call for a carrier to place. `reference` is ours and can be looked up later.

    `state` comes back with its requests. `timeout_s` is the maximum ringing time.
    """

    reference: str
    permit: DialPermit
    from_number: str
    callback_url: str
    state: str
    timeout_s: int = 30


@dataclass(frozen=True)
class PlacedCallQuery:
    """A call that may have been placed, to search for at its carrier. Nothing is dialled.

    `begun_at` is when VCA began to dial, if that is known.
    """

    reference: str
    number: str
    from_number: str
    begun_at: datetime | None = None


@dataclass(frozen=True)
class CallStatus:
    """A call's status at its carrier: still live, or ended by `event`."""

    provider_call_id: str
    event: CallEvent | None = None


@dataclass(frozen=True)
class CarrierResponse:
    """A rendered reply: exactly what is sent to the carrier."""

    body: bytes
    content_type: str
    status: int = 200


@dataclass(frozen=True)
class Recording:
    """The audio of a call at a carrier, streamed once.

    `chunks` raises TelephonyError if the carrier fails midway or sends more than
    MAX_RECORDING_BYTES bytes (`limit_size` counts them). No chunk is longer than 1 MiB. A reader
    that stops early must close it.
    """

    content_type: str
    chunks: Generator[bytes, None, None]


@dataclass(frozen=True)
class Capabilities:
    """What a carrier supports. A profile that needs more cannot be bound to its numbers.

    `relay`: the carrier speaks text that we stream over a WebSocket. `webrtc`: browsers can call
    through the carrier. `languages`: what it understands and speaks; None means every language,
    with any voice. `turn`: the fields of a profile's `turn` that the carrier applies.
    """

    transfer: bool = True
    recording: bool = True
    voicemail: bool = True
    outbound: bool = True
    send_keys: bool = True
    relay: bool = False
    webrtc: bool = False
    languages: LanguageTable | None = None
    turn: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ProviderAccountRef:
    """A carrier by its name, and the tenant's account with it.

    For a phone number the name may be `generic`. Without an account id it is the deployment's
    account.
    """

    provider_type: str
    account_id: UUID | None = None


@dataclass(frozen=True)
class WebSocketFormat:
    """The differences between carriers in the frames of their WebSockets.

    `call_id_field` is the field of the `setup` frame that contains the carrier's id of the call.
    `reconnects`: after a lost connection the carrier opens another one for the same call, and sends
    what it could not deliver. Such a carrier signs its handshakes.
    """

    call_id_field: str
    reconnects: bool = False


@dataclass(frozen=True)
class AccountField:
    """A field of a tenant's account with a carrier: its name, its pattern and its description.

    `secret` fields are stored encrypted and never returned. Without a field that is not `required`,
    the carrier supports less.
    """

    name: str
    pattern: re.Pattern[str]
    description: str
    secret: bool = True
    required: bool = True


@dataclass(frozen=True)
class Account:
    """A tenant's own account with a carrier, by the names in the adapter's `account_fields`.

    `previous` holds the fields before a change; the carrier may still sign with them for a while.
    """

    fields: Mapping[str, str] = field(repr=False)
    previous: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class NumberSetting:
    """One setting of a number at the carrier, in the carrier's terms.

    None means that nothing is set.
    """

    name: str
    expected: str | None
    actual: str | None

    @property
    def agrees(self) -> bool:
        """Whether the actual value is the expected one."""
        return self.expected == self.actual


@dataclass(frozen=True)
class WebRtcCredential:
    """A browser's login at the carrier. Anybody who has it can place calls until it expires.

    `identity` is the carrier's name for the browser.
    """

    token: str = field(repr=False)
    identity: str
    expires_at: datetime
