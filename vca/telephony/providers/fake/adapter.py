"""The fake carrier: implements the contract, carries no calls, and remembers its operations.

Nobody answers the calls that it places, unless it has a callee.

It speaks JSON. A request is `POST …/telephony/fake/<action>`, signed in the header
`X-Fake-Signature` with HMAC-SHA-256 over the URL and the raw body. The action `voice` is an inbound
call; every other action has the name of its kind of event.
"""

import hashlib
import hmac
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, get_args
from uuid import UUID

from typing_extensions import override

from vca.kit import clock, json
from vca.kit.phone import mask
from vca.kit.text import sanitize
from vca.observability import log
from vca.settings import Settings
from vca.telephony.adapter import (
    InvalidCarrierRequest,
    InvalidCarrierSignature,
    TelephonyAdapter,
    TelephonyError,
    limit_size,
)
from vca.telephony.caller_id import called_number
from vca.telephony.providers.fake.fields_parser import (
    parse_body,
    parse_calling_party,
    parse_keys,
    parse_leg_outcome,
    parse_status,
    text_field,
)
from vca.telephony.turn_settings import TURN_FIELDS
from vca.telephony.types import (
    Account,
    AccountField,
    Action,
    CallEvent,
    CallMetadata,
    CallReply,
    CallStatus,
    Capabilities,
    CarrierEvent,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    Forward,
    HangUp,
    Listen,
    NumberSetting,
    OutboundCall,
    PlacedCallQuery,
    Poll,
    Record,
    Recording,
    Reject,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

SIGNATURE_HEADER = "x-fake-signature"
_MAX_REMEMBERED = 1_000
_MAX_TEXT_CHARS = 3_000
_CHUNK_BYTES = 64 * 1024
_PLACED_PREFIX = "placed-"
_ACTION_TYPES: Mapping[type[Action], str] = {
    Say: "say",
    Listen: "listen",
    Forward: "forward",
    HangUp: "hang_up",
    Reject: "reject",
    Transfer: "transfer",
    TakeVoicemail: "take_voicemail",
    SendKeys: "send_keys",
    Record: "record",
    Poll: "come_back",
}
_KINDS_BY_ACTION: Mapping[str, CarrierEventKind] = {
    "voice": "call",
    **{
        kind: kind
        for kind in get_args(CarrierEventKind)
        if kind not in ("call", "due", "progress", "relayed")
    },
}
_ACCOUNT_ID = re.compile(r"[!-~]{1,64}", re.ASCII)
_SECRET = re.compile(r"[!-~]{16,128}", re.ASCII)


Callee = Callable[["FakeTelephonyAdapter", OutboundCall, str], None]


class FakeTelephonyAdapter(TelephonyAdapter):
    """A carrier for terminals, simulations and tests.

    `callee` is called with each call that the carrier has placed and with the carrier's id of it,
    and answers the call. Such a callee says nothing, and has hung up when the carrier is asked.
    """

    name: ClassVar[str] = "fake"
    capabilities: ClassVar[Capabilities] = Capabilities(turn=TURN_FIELDS)
    actions: ClassVar[frozenset[str]] = frozenset(_KINDS_BY_ACTION)
    account_fields: ClassVar[tuple[AccountField, ...]] = (
        AccountField("account_id", _ACCOUNT_ID, "Name of the account. Any text.", secret=False),
        AccountField("secret", _SECRET, "Secret that signs the carrier's requests."),
    )

    def __init__(self, *secrets: str) -> None:
        """Sign with the first secret and accept all; without any, use a well-known one."""
        self._secrets = [secret.encode() for secret in secrets or ("fake-carrier",)]
        self._has_account = True
        self._lock = threading.Lock()
        self.registered_numbers: dict[str, UUID] = {}
        self.operations: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_MAX_REMEMBERED)
        self.failures: deque[TelephonyError] = deque()
        self._recordings: dict[tuple[str, str | None], tuple[bytes, str]] = {}
        self.placed_calls: dict[str, str] = {}
        self.live_calls: set[str] = set()
        self._ended_calls: deque[str] = deque(maxlen=_MAX_REMEMBERED)
        self.callee: Callee | None = None

    @classmethod
    @override
    def from_settings(cls, settings: Settings) -> Self | None:
        return None if settings.production else cls(f"fake-carrier|{settings.secret_key}")

    @classmethod
    @override
    def from_account(cls, settings: Settings, account: Account | None) -> Self:
        if account is None:
            return cls._without_account()
        versions = (account.fields, account.previous)
        return cls(*(fields["secret"] for fields in versions if fields is not None))

    @override
    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        self._record_operation("register_number", tenant_id=tenant_id, did_number=did_number)
        with self._lock:
            owner = self.registered_numbers.setdefault(did_number, tenant_id)
        if owner != tenant_id:
            raise TelephonyError(
                "the number belongs to another tenant", permanent=True, code="foreign"
            )

    @override
    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        self._record_operation("unregister_number", tenant_id=tenant_id, did_number=did_number)
        with self._lock:
            if self.registered_numbers.get(did_number) == tenant_id:
                del self.registered_numbers[did_number]

    @override
    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[NumberSetting, ...]:
        self._record_operation("check_number", tenant_id=tenant_id, did_number=did_number)
        owner = self.registered_numbers.get(did_number)
        return (NumberSetting("owner", str(tenant_id), str(owner) if owner else None),)

    @override
    def parse(self, request: CarrierRequest) -> CarrierEvent:
        fields = parse_body(request.body)
        provider_call_id = text_field(fields, "call_id", 128)
        if not provider_call_id:
            raise InvalidCarrierRequest("call_id is missing")
        kind = _KINDS_BY_ACTION.get(request.action)
        if kind is None:
            raise InvalidCarrierRequest("unknown action")
        return CarrierEvent(
            kind=kind,
            provider_call_id=provider_call_id,
            called_number=called_number(text_field(fields, "to", 64), self.added_ranges),
            caller=parse_calling_party(fields, self.added_ranges),
            state=text_field(fields, "state", 2_000) or None,
            speech=text_field(fields, "text", 10_000),
            keys=parse_keys(fields),
            leg=parse_leg_outcome(fields) if kind == "leg" else None,
            recording_id=text_field(fields, "recording_id", 128) or None,
            simulated=fields.get("simulated") is True,
            event=parse_status(fields, provider_call_id) if kind == "status" else None,
        )

    @override
    def verify(self, request: CarrierRequest) -> None:
        signature = request.headers.get(SIGNATURE_HEADER, "").encode()
        expected_signatures = [
            _compute_signature(secret, request.url, request.body) for secret in self._secrets
        ]
        if not any(hmac.compare_digest(signature, expected) for expected in expected_signatures):
            raise InvalidCarrierSignature("the signature does not match")

    def sign(self, url: str, body: bytes) -> bytes:
        """Return the signature of a genuine request, in hex."""
        return _compute_signature(self._secrets[0], url, body)

    def signed_request(self, action: str, base_url: str, **fields: Any) -> CarrierRequest:
        """Return the signed request that this carrier would send; the counterpart of `parse`."""
        url, body = f"{base_url}{action}", json.dumps(fields)
        return CarrierRequest(action, url, {SIGNATURE_HEADER: self.sign(url, body).decode()}, body)

    @override
    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        # Not logged, because the call's own log line follows.
        self.operations.append(("on_inbound_call", {"call_id": call_metadata.call_id}))
        return CallEvent(
            "RINGING",
            call_metadata.call_id,
            call_metadata.timestamp,
            f"ring-{call_metadata.call_id}",
        )

    @override
    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        body = {
            "actions": [_render_action(action) for action in reply.actions],
            "state": reply.state,
            "callback_url": callback_url,
        }
        return CarrierResponse(json.dumps(body), "application/json")

    @override
    def hang_up(self, provider_call_id: str) -> None:
        self._record_operation("hang_up", call_id=provider_call_id)
        self._ended_calls.append(provider_call_id)

    @override
    def update_live_call(
        self, provider_call_id: str, reply: CallReply, *, callback_url: str
    ) -> None:
        actions = [_render_action(action) for action in reply.actions]
        self._record_operation(
            "direct",
            call_id=provider_call_id,
            actions=actions,
            state=reply.state,
            callback_url=callback_url,
        )
        if provider_call_id in self._ended_calls:
            raise TelephonyError("the call has ended", permanent=True, code="call-ended")

    @override
    def place_call(self, call: OutboundCall) -> str:
        self._record_operation(
            "place_call", reference=call.reference, number=call.permit.number, state=call.state
        )
        provider_call_id = f"{_PLACED_PREFIX}{call.reference}"
        self.placed_calls[call.reference] = provider_call_id
        self.live_calls.add(provider_call_id)
        if self.callee is not None:
            self.callee(self, call, provider_call_id)
        return provider_call_id

    @override
    def find_call(self, query: PlacedCallQuery) -> str | None:
        self._record_operation("find_call", reference=query.reference)
        return self.placed_calls.get(query.reference)

    @override
    def find_call_status(self, provider_call_id: str) -> CallStatus | None:
        self._record_operation("look_up", call_id=provider_call_id)
        has_hung_up = self.callee is not None and provider_call_id.startswith(_PLACED_PREFIX)
        if provider_call_id in self._ended_calls or has_hung_up:
            event = CallEvent(
                "ENDED",
                provider_call_id,
                clock.now(),
                f"completed-{provider_call_id}",
                end_reason="caller_hangup",
            )
            return CallStatus(provider_call_id, event)
        return CallStatus(provider_call_id) if provider_call_id in self.live_calls else None

    def end_silently(self, provider_call_id: str) -> None:
        """End a call without reporting it, as if its event were lost."""
        self._ended_calls.append(provider_call_id)

    @override
    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        self._record_operation("recording", call_id=provider_call_id)
        with self._lock:
            stored_recording = self._recordings.get((provider_call_id, provider_recording_id))
        if stored_recording is None:
            return None
        audio, content_type = stored_recording
        chunks = (
            audio[offset : offset + _CHUNK_BYTES] for offset in range(0, len(audio), _CHUNK_BYTES)
        )
        return Recording(content_type, limit_size(chunks))

    @override
    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        self._record_operation("delete_recording", call_id=provider_call_id)
        with self._lock:
            self._recordings.pop((provider_call_id, provider_recording_id), None)

    def add_recording(
        self,
        provider_call_id: str,
        audio: bytes,
        content_type: str = "audio/wav",
        provider_recording_id: str | None = None,
    ) -> None:
        """Store this audio of a call, as if the call had been recorded."""
        with self._lock:
            self._recordings[provider_call_id, provider_recording_id] = (audio, content_type)

    def fail_next(self, error: TelephonyError) -> None:
        """Make the next operation fail with this error."""
        self.failures.append(error)

    @classmethod
    def _without_account(cls) -> Self:
        adapter = cls(secrets.token_hex())
        adapter._has_account = False
        return adapter

    def _record_operation(self, operation: str, **arguments: Any) -> None:
        if not self._has_account:
            raise TelephonyError("no account is configured", permanent=True, code="no-account")
        self.operations.append((operation, arguments))
        log.get_logger().info(
            "fake_carrier.asked", what=operation, **dict(map(_redact_argument, arguments.items()))
        )
        if self.failures:
            raise self.failures.popleft()


def _compute_signature(secret: bytes, url: str, body: bytes) -> bytes:
    return hmac.new(secret, url.encode() + b"\n" + body, hashlib.sha256).hexdigest().encode()


def _redact_argument(argument: tuple[str, Any]) -> tuple[str, str]:
    """Return an operation's argument for the log: no whole number, no text, no token."""
    name, value = argument
    if name == "actions":
        return name, " ".join(action["type"] for action in value)
    if name == "state":
        return name, "…"
    return name, mask(value) if "number" in name else str(value)


def _render_action(action: Action) -> dict[str, Any]:
    fields = {"type": _ACTION_TYPES[type(action)], **vars(action)}
    if isinstance(action, Say):
        fields["text"] = sanitize(action.text, max_length=_MAX_TEXT_CHARS)
    if isinstance(action, Forward | Transfer):
        fields["number"] = fields.pop("permit").number
    fields.pop("turn", None)  # a text telephone has nothing to apply it to
    return fields
