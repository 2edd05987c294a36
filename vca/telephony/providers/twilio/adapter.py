"""The Twilio adapter: one account, turns over HTTP or through its ConversationRelay."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

from vca.kit.config import Settings
from vca.kit.phone import is_e164
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.providers.twilio import (
    browsers,
    calls,
    numbers,
    recordings,
    statuses,
    twiml,
    webhooks,
)
from vca.telephony.providers.twilio.settings import (
    ACCOUNT_FIELDS,
    NAME,
    ApiKey,
    Login,
    Patience,
    Place,
    api_key,
    logins,
    own_api_key,
    own_logins,
)
from vca.telephony.types import (
    Account,
    AccountField,
    CallEvent,
    CallMetadata,
    CallReply,
    Capabilities,
    CarrierFacts,
    CarrierRequest,
    CarrierResponse,
    Held,
    OutboundCall,
    Recording,
    RelayDialect,
    Seen,
    WebRtcCredential,
)

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import Asking, Rest

_XML = "text/xml; charset=utf-8"
_PATIENCE = Patience()


class TwilioAdapter(TelephonyAdapter):
    """Light to make: what is first asked of Twilio imports its SDK and makes the connections.

    The first login asks; requests that any of them signed are genuine. Without one it reads and
    renders only.
    """

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(relay=True, webrtc=True)
    relay: ClassVar[RelayDialect | None] = RelayDialect(call_id="callSid")
    actions: ClassVar[frozenset[str]] = webhooks.ACTIONS
    account_fields: ClassVar[tuple[AccountField, ...]] = ACCOUNT_FIELDS

    def __init__(
        self,
        logins: tuple[Login, ...],
        place: Place,
        *,
        api_key: ApiKey | None = None,
        patience: Patience = _PATIENCE,
    ) -> None:
        self._logins = logins
        self._place = place
        self._api_key = api_key
        self._patience = patience
        self._lock = Lock()
        self._rest: Rest | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        own = own_logins(settings)
        return cls(own, Place.of(settings), api_key=own_api_key(settings)) if own else None

    @classmethod
    def of_account(cls, settings: Settings, account: Account | None) -> Self:
        return cls(logins(account), Place.of(settings), api_key=api_key(account))

    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        with self._asking() as asking:
            wanted = numbers.wanted(self._place, tenant_id=tenant_id, did_number=did_number)
            numbers.register(asking, wanted, tenant_id=tenant_id, did_number=did_number)

    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        with self._asking() as asking:
            wanted = numbers.wanted(self._place, tenant_id=tenant_id, did_number=did_number)
            numbers.unregister(asking, wanted, tenant_id=tenant_id, did_number=did_number)

    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[Held, ...]:
        with self._asking() as asking:
            wanted = numbers.wanted(self._place, tenant_id=tenant_id, did_number=did_number)
            return numbers.check(asking, wanted, did_number=did_number)

    def parse(self, request: CarrierRequest) -> CarrierFacts:
        return webhooks.read(request)

    def verify(self, request: CarrierRequest) -> None:
        webhooks.verify(request, self._logins)

    def verify_socket(self, request: CarrierRequest) -> None:
        webhooks.verify_socket(request, self._logins)

    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        call_sid, now = call_metadata.call_id, call_metadata.timestamp
        return CallEvent("RINGING", call_sid, now, statuses.key("ringing", call_sid))

    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        return _response(twiml.render(reply, callback_url=callback_url))

    def answer(
        self, facts: CarrierFacts, reply: CallReply, *, callback_url: str
    ) -> CarrierResponse:
        """The reply rendered; whoever it dials sees the number of ours on the call."""
        caller_id = facts.own_number if is_e164(facts.own_number) else None
        return _response(twiml.render(reply, callback_url=callback_url, caller_id=caller_id))

    def hang_up(self, provider_call_id: str) -> None:
        with self._asking() as asking:
            calls.hang_up(asking, provider_call_id)

    def direct(self, provider_call_id: str, reply: CallReply, *, callback_url: str) -> None:
        with self._asking(again=False) as asking:
            calls.direct(asking, provider_call_id, reply, callback_url=callback_url)

    def place_call(self, call: OutboundCall) -> str:
        with self._asking(again=False) as asking:
            return calls.place(asking, call)

    def find_call(self, call: OutboundCall) -> str | None:
        with self._asking() as asking:
            return calls.find(asking, call)

    def look_up(self, provider_call_id: str) -> Seen | None:
        with self._asking() as asking:
            return calls.look_up(asking, provider_call_id)

    def recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        with self._asking() as asking:
            return recordings.fetch(asking, provider_call_id, provider_recording_id)

    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        with self._asking() as asking:
            recordings.delete(asking, provider_call_id, provider_recording_id)

    def webrtc_credential(self, did_number: str, *, identity: str, ttl_s: int) -> WebRtcCredential:
        with self._asking(again=False) as asking:
            if self._api_key is None:
                raise TelephonyError(
                    "no API key for browsers is configured", permanent=True, code="not-set-up"
                )
            return browsers.credential(
                asking,
                self._api_key,
                self._place,
                did_number=did_number,
                identity=identity,
                ttl_s=ttl_s,
            )

    def close(self) -> None:
        """Close the connections; it may be asked again."""
        with self._lock:
            rest, self._rest = self._rest, None
        if rest is not None:
            rest.close()

    @contextmanager
    def _asking(self, *, again: bool = True) -> "Iterator[Asking]":
        if not self._logins:
            raise TelephonyError("no account is configured", permanent=True, code="no-account")
        with self._ready().asking(again=again) as asking:
            yield asking

    def _ready(self) -> "Rest":
        from vca.telephony.providers.twilio.rest import Rest  # slow: it imports the SDK

        with self._lock:
            if self._rest is None:
                self._rest = Rest(self._logins[0], self._place.api_base_url, self._patience)
            return self._rest


def _response(document: str) -> CarrierResponse:
    return CarrierResponse(document.encode(), _XML)
