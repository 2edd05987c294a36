"""The fake carrier: keeps the contract, carries no call, remembers what it was asked.

It speaks JSON. A request is `POST …/telephony/fake/<action>`, signed in the header
`X-Fake-Signature` with HMAC-SHA-256 over the URL and the raw body. The action `voice` is a call
that rings, all others are named after the fact that they tell.
"""

import hashlib
import hmac
import re
import secrets
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, get_args
from uuid import UUID

from vca.kit import clock, json, log
from vca.kit.config import Settings
from vca.kit.phone import masked
from vca.kit.text import clean
from vca.telephony.adapter import (
    BadCarrierRequest,
    SignatureRefused,
    TelephonyAdapter,
    TelephonyError,
    bounded,
)
from vca.telephony.callers import read_caller
from vca.telephony.types import (
    Account,
    AccountField,
    Action,
    CallEvent,
    CallMetadata,
    CallReply,
    Capabilities,
    CarrierFacts,
    CarrierRequest,
    CarrierResponse,
    ComeBack,
    FactKind,
    Forward,
    HangUp,
    Held,
    LegOutcome,
    Listen,
    OutboundCall,
    Record,
    Recording,
    Reject,
    Say,
    Seen,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

SIGNATURE = "x-fake-signature"
_REMEMBERED = 1_000
_LONGEST_SENTENCE = 3_000
_PIECE = 64 * 1024
_WORDS: Mapping[type[Action], str] = {
    Say: "say",
    Listen: "listen",
    Forward: "forward",
    HangUp: "hang_up",
    Reject: "reject",
    Transfer: "transfer",
    TakeVoicemail: "take_voicemail",
    SendKeys: "send_keys",
    Record: "record",
    ComeBack: "come_back",
}
_KINDS: Mapping[str, FactKind] = {
    "voice": "call",
    **{kind: kind for kind in get_args(FactKind) if kind not in ("call", "progress", "relayed")},
}
_ACCOUNT_ID = re.compile(r"[!-~]{1,64}", re.ASCII)
_SECRET = re.compile(r"[!-~]{16,128}", re.ASCII)
_KEYS = re.compile(r"[0-9*#]{0,32}", re.ASCII)
_STATUSES: Mapping[str, tuple[str, str | None]] = {
    "ringing": ("RINGING", None),
    "answered": ("ANSWERED", None),
    "completed": ("ENDED", "caller_hangup"),
    "busy": ("FAILED", "busy"),
    "no_answer": ("FAILED", "no_answer"),
    "cancelled": ("FAILED", "cancelled"),
    "failed": ("FAILED", "carrier_error"),
}


class FakeTelephonyAdapter(TelephonyAdapter):
    """A carrier for terminals, simulations and tests."""

    name: ClassVar[str] = "fake"
    capabilities: ClassVar[Capabilities] = Capabilities()
    actions: ClassVar[frozenset[str]] = frozenset(_KINDS)
    account_fields: ClassVar[tuple[AccountField, ...]] = (
        AccountField("account_id", _ACCOUNT_ID, "Any name.", secret=False),
        AccountField("secret", _SECRET, "What its requests are signed with."),
    )

    def __init__(self, *secrets: str) -> None:
        """The first of the secrets signs, all are accepted; without any there is a known one."""
        self._secrets = [secret.encode() for secret in secrets or ("fake-carrier",)]
        self._has_account = True
        self._lock = threading.Lock()
        self.registered: dict[str, UUID] = {}
        self.asked: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_REMEMBERED)
        self.failures: deque[TelephonyError] = deque()
        self._recordings: dict[tuple[str, str | None], tuple[bytes, str]] = {}
        self.placed: dict[str, str] = {}
        self.live: set[str] = set()
        self._ended: deque[str] = deque(maxlen=_REMEMBERED)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        return None if settings.production else cls(f"fake-carrier|{settings.secret_key}")

    @classmethod
    def of_account(cls, settings: Settings, account: Account | None) -> Self:
        if account is None:
            return cls._of_nobody()
        given = (account.fields, account.previous)
        return cls(*(fields["secret"] for fields in given if fields is not None))

    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        self._asked("register_number", tenant_id=tenant_id, did_number=did_number)
        with self._lock:
            owner = self.registered.setdefault(did_number, tenant_id)
        if owner != tenant_id:
            raise TelephonyError("the number is another tenant's", permanent=True, code="foreign")

    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        self._asked("unregister_number", tenant_id=tenant_id, did_number=did_number)
        with self._lock:
            if self.registered.get(did_number) == tenant_id:
                del self.registered[did_number]

    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[Held, ...]:
        self._asked("check_number", tenant_id=tenant_id, did_number=did_number)
        owner = self.registered.get(did_number)
        return (Held("owner", str(tenant_id), str(owner) if owner else None),)

    def parse(self, request: CarrierRequest) -> CarrierFacts:
        said = _read(request.body)
        provider_call_id = _text(said, "call_id", 128)
        if not provider_call_id:
            raise BadCarrierRequest("call_id is missing")
        kind = _KINDS.get(request.action)
        if kind is None:
            raise BadCarrierRequest("no such action")
        return CarrierFacts(
            kind=kind,
            provider_call_id=provider_call_id,
            called_number=_text(said, "to", 64),
            caller=read_caller(_text(said, "from", 256)),
            state=_text(said, "state", 2_000) or None,
            speech=_text(said, "text", 10_000),
            keys=_keys(said),
            leg=_leg(said) if kind == "leg" else None,
            recording_id=_text(said, "recording_id", 128) or None,
            simulated=said.get("simulated") is True,
            event=_event(said, provider_call_id) if kind == "status" else None,
        )

    def verify(self, request: CarrierRequest) -> None:
        given = request.headers.get(SIGNATURE, "").encode()
        genuine = [_signature(secret, request.url, request.body) for secret in self._secrets]
        if not any(hmac.compare_digest(given, each) for each in genuine):
            raise SignatureRefused("the signature does not match")

    def signature(self, url: str, body: bytes) -> bytes:
        """What a genuine request bears, in hex."""
        return _signature(self._secrets[0], url, body)

    def request(self, action: str, base_url: str, **said: Any) -> CarrierRequest:
        """The signed request that this carrier would send; the other end of `parse`."""
        url, body = f"{base_url}{action}", json.dumps(said)
        return CarrierRequest(action, url, {SIGNATURE: self.signature(url, body).decode()}, body)

    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        # Remembered, not logged: the call's own line follows.
        self.asked.append(("on_inbound_call", {"call_id": call_metadata.call_id}))
        return CallEvent(
            "RINGING",
            call_metadata.call_id,
            call_metadata.timestamp,
            f"ring-{call_metadata.call_id}",
        )

    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        body = {
            "actions": [_rendered(action) for action in reply.actions],
            "state": reply.state,
            "callback_url": callback_url,
        }
        return CarrierResponse(json.dumps(body), "application/json")

    def hang_up(self, provider_call_id: str) -> None:
        self._asked("hang_up", call_id=provider_call_id)
        self._ended.append(provider_call_id)

    def direct(self, provider_call_id: str, reply: CallReply, *, callback_url: str) -> None:
        actions = [_rendered(action) for action in reply.actions]
        self._asked(
            "direct",
            call_id=provider_call_id,
            actions=actions,
            state=reply.state,
            callback_url=callback_url,
        )
        if provider_call_id in self._ended:
            raise TelephonyError("the call has ended", permanent=True, code="call-ended")

    def place_call(self, call: OutboundCall) -> str:
        self._asked("place_call", reference=call.reference, number=call.number, state=call.state)
        provider_call_id = f"placed-{call.reference}"
        self.placed[call.reference] = provider_call_id
        self.live.add(provider_call_id)
        return provider_call_id

    def find_call(self, call: OutboundCall) -> str | None:
        self._asked("find_call", reference=call.reference)
        return self.placed.get(call.reference)

    def look_up(self, provider_call_id: str) -> Seen | None:
        self._asked("look_up", call_id=provider_call_id)
        if provider_call_id in self._ended:
            event = CallEvent(
                "ENDED",
                provider_call_id,
                clock.now(),
                f"completed-{provider_call_id}",
                end_reason="caller_hangup",
            )
            return Seen(provider_call_id, event)
        return Seen(provider_call_id) if provider_call_id in self.live else None

    def end(self, provider_call_id: str) -> None:
        """Let a call end without telling anybody: its event got lost."""
        self._ended.append(provider_call_id)

    def recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        self._asked("recording", call_id=provider_call_id)
        with self._lock:
            held = self._recordings.get((provider_call_id, provider_recording_id))
        if held is None:
            return None
        audio, content_type = held
        pieces = (audio[at : at + _PIECE] for at in range(0, len(audio), _PIECE))
        return Recording(content_type, bounded(pieces))

    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        self._asked("delete_recording", call_id=provider_call_id)
        with self._lock:
            self._recordings.pop((provider_call_id, provider_recording_id), None)

    def record(
        self,
        provider_call_id: str,
        audio: bytes,
        content_type: str = "audio/wav",
        provider_recording_id: str | None = None,
    ) -> None:
        """Hold this audio of a call, as if it had been recorded."""
        with self._lock:
            self._recordings[provider_call_id, provider_recording_id] = (audio, content_type)

    def fail_next(self, error: TelephonyError) -> None:
        """Let the next thing that is asked of this carrier fail."""
        self.failures.append(error)

    @classmethod
    def _of_nobody(cls) -> Self:
        adapter = cls(secrets.token_hex())
        adapter._has_account = False
        return adapter

    def _asked(self, what: str, **how: Any) -> None:
        if not self._has_account:
            raise TelephonyError("no account is configured", permanent=True, code="no-account")
        self.asked.append((what, how))
        log.get().info("fake_carrier.asked", what=what, **dict(map(_shown, how.items())))
        if self.failures:
            raise self.failures.popleft()


def _signature(secret: bytes, url: str, body: bytes) -> bytes:
    return hmac.new(secret, url.encode() + b"\n" + body, hashlib.sha256).hexdigest().encode()


def _shown(said: tuple[str, Any]) -> tuple[str, str]:
    """What was asked, as it may stand in a log: no whole number, no words, no token."""
    name, value = said
    if name == "actions":
        return name, " ".join(action["type"] for action in value)
    if name == "state":
        return name, "…"
    return name, masked(value) if "number" in name else str(value)


def _rendered(action: Action) -> dict[str, Any]:
    words = {"type": _WORDS[type(action)], **vars(action)}
    if isinstance(action, Say):
        words["text"] = clean(action.text, longest=_LONGEST_SENTENCE)
    return words


def _read(body: bytes) -> dict[str, Any]:
    try:
        said = json.strict_loads(body)
    except json.BadJson as error:
        raise BadCarrierRequest(str(error)) from None
    if not isinstance(said, dict):
        raise BadCarrierRequest("not an object")
    return said


def _text(said: dict[str, Any], name: str, longest: int) -> str:
    value = said.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest:
        raise BadCarrierRequest(f"{name} is not a string of at most {longest} characters")
    return value


def _keys(said: dict[str, Any]) -> str:
    keys = _text(said, "keys", 32)
    if not _KEYS.fullmatch(keys):
        raise BadCarrierRequest("keys are not of 0-9, * and #")
    return keys


def _leg(said: dict[str, Any]) -> LegOutcome:
    outcome = _text(said, "outcome", 32)
    if outcome not in get_args(LegOutcome):
        raise BadCarrierRequest("no such outcome of a leg")
    return outcome  # type: ignore[return-value] # one of them


def _event(said: dict[str, Any], call_id: str) -> CallEvent:
    status = _text(said, "status", 32)
    if status not in _STATUSES:
        raise BadCarrierRequest("no such status")
    event_type, end_reason = _STATUSES[status]
    return CallEvent(
        event_type,  # type: ignore[arg-type] # from the table above
        call_id,
        _moment(said),
        f"{status}-{call_id}",
        end_reason=end_reason,
        end_detail=_text(said, "code", 64) or None,
    )


def _moment(said: dict[str, Any]) -> datetime:
    text = _text(said, "at", 40)
    if not text:
        return clock.now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadCarrierRequest("at is not a time") from None
    if moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise BadCarrierRequest("at is not a time with an offset")
    return moment.astimezone(UTC)  # Postgres knows no offset of 16 hours or more
