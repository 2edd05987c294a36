"""The Twilio adapter: one account, with turns over HTTP or through ConversationRelay."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

from typing_extensions import override

from vca.kit.phone import is_e164
from vca.settings import Settings
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.providers.twilio import (
    calls,
    languages,
    numbers,
    recordings,
    statuses,
    twiml,
    webhooks,
    webrtc,
)
from vca.telephony.providers.twilio.callback_urls import CallbackUrls
from vca.telephony.providers.twilio.settings import (
    ACCOUNT_FIELDS,
    NAME,
    ApiKey,
    RestTimeouts,
    TwilioCredentials,
    TwilioUrls,
    account_api_key,
    account_credentials,
    deployment_api_key,
    deployment_credentials,
)
from vca.telephony.state_signature import StateSigner
from vca.telephony.turn_settings import TURN_FIELDS, SpokenLanguage
from vca.telephony.types import (
    Account,
    AccountField,
    CallEvent,
    CallMetadata,
    CallReply,
    CallStatus,
    Capabilities,
    CarrierEvent,
    CarrierRequest,
    CarrierResponse,
    NumberSetting,
    OutboundCall,
    PlacedCallQuery,
    Recording,
    WebRtcCredential,
    WebSocketFormat,
)

if TYPE_CHECKING:
    from vca.telephony.providers.twilio.rest import RestClient, RestSession

_XML = "text/xml; charset=utf-8"
_DEFAULT_TIMEOUTS = RestTimeouts()


class TwilioAdapter(TelephonyAdapter):
    """A Twilio account. It is cheap to create: the first operation imports the SDK and connects.

    Operations use the first credentials; requests signed with any of them are genuine. Without
    credentials the adapter only parses and renders.
    """

    name: ClassVar[str] = NAME
    capabilities: ClassVar[Capabilities] = Capabilities(
        relay=True, webrtc=True, languages=languages.TABLE, turn=TURN_FIELDS
    )
    websocket_format: ClassVar[WebSocketFormat | None] = WebSocketFormat(
        call_id_field="callSid", reconnects=True
    )
    actions: ClassVar[frozenset[str]] = webhooks.ACTIONS
    account_fields: ClassVar[tuple[AccountField, ...]] = ACCOUNT_FIELDS

    def __init__(
        self,
        credentials: tuple[TwilioCredentials, ...],
        urls: TwilioUrls,
        *,
        state_signer: StateSigner,
        api_key: ApiKey | None = None,
        timeouts: RestTimeouts = _DEFAULT_TIMEOUTS,
    ) -> None:
        self._credentials = credentials
        self._urls = urls
        self._signer = state_signer
        self._api_key = api_key
        self._timeouts = timeouts
        self._lock = Lock()
        self._rest: RestClient | None = None

    @classmethod
    @override
    def from_settings(cls, settings: Settings) -> Self | None:
        credentials = deployment_credentials(settings)
        return (
            cls(
                credentials,
                TwilioUrls.from_settings(settings),
                state_signer=StateSigner(settings.secret_key),
                api_key=deployment_api_key(settings),
            )
            if credentials
            else None
        )

    @classmethod
    @override
    def from_account(cls, settings: Settings, account: Account | None) -> Self:
        return cls(
            account_credentials(account),
            TwilioUrls.from_settings(settings),
            state_signer=StateSigner(settings.secret_key),
            api_key=account_api_key(account),
        )

    @override
    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        with self._open_session() as session:
            expected = numbers.expected_settings(
                self._urls, tenant_id=tenant_id, did_number=did_number
            )
            numbers.register(session, expected, tenant_id=tenant_id, did_number=did_number)

    @override
    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        with self._open_session() as session:
            expected = numbers.expected_settings(
                self._urls, tenant_id=tenant_id, did_number=did_number
            )
            numbers.unregister(session, expected, tenant_id=tenant_id, did_number=did_number)

    @override
    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[NumberSetting, ...]:
        with self._open_session() as session:
            expected = numbers.expected_settings(
                self._urls, tenant_id=tenant_id, did_number=did_number
            )
            return numbers.compare(session, expected, did_number=did_number)

    @override
    def parse(self, request: CarrierRequest) -> CarrierEvent:
        return webhooks.parse_webhook(request, self._signer, self.added_ranges)

    @override
    def verify(self, request: CarrierRequest) -> None:
        webhooks.verify(request, self._credentials)

    @override
    def verify_websocket(self, request: CarrierRequest) -> None:
        webhooks.verify_websocket(request, self._credentials)

    @override
    def websocket_language(self, spoken: SpokenLanguage) -> str:
        return languages.choose_speech(spoken.voice, spoken.language)[0]

    @override
    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        call_sid, now = call_metadata.call_id, call_metadata.timestamp
        return CallEvent("RINGING", call_sid, now, statuses.event_key("ringing", call_sid))

    @override
    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        return _response(twiml.render(reply, callback_urls=self._callback_urls(callback_url)))

    def handle(
        self, carrier_event: CarrierEvent, reply: CallReply, *, callback_url: str
    ) -> CarrierResponse:
        """Return the rendered reply.

        A party that it dials sees our number in the call as the caller id.
        """
        caller_id = carrier_event.own_number if is_e164(carrier_event.own_number) else None
        callback_urls = self._callback_urls(callback_url)
        return _response(twiml.render(reply, callback_urls=callback_urls, caller_id=caller_id))

    @override
    def hang_up(self, provider_call_id: str) -> None:
        with self._open_session() as session:
            calls.hang_up(session, provider_call_id)

    @override
    def update_live_call(
        self, provider_call_id: str, reply: CallReply, *, callback_url: str
    ) -> None:
        with self._open_session(retry_writes=False) as session:
            callback_urls = self._callback_urls(callback_url)
            calls.update_live_call(
                session,
                provider_call_id,
                reply,
                callback_urls=callback_urls,
                added_ranges=self.added_ranges,
            )

    @override
    def place_call(self, call: OutboundCall) -> str:
        with self._open_session(retry_writes=False) as session:
            return calls.place_call(session, self._signer, call)

    @override
    def find_call(self, query: PlacedCallQuery) -> str | None:
        with self._open_session() as session:
            return calls.find_call(session, query)

    @override
    def find_call_status(self, provider_call_id: str) -> CallStatus | None:
        with self._open_session() as session:
            return calls.find_call_status(session, provider_call_id)

    @override
    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        with self._open_session() as session:
            return recordings.fetch(session, provider_call_id, provider_recording_id)

    @override
    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        with self._open_session() as session:
            recordings.delete(session, provider_call_id, provider_recording_id)

    @override
    def create_webrtc_credential(
        self, did_number: str, *, identity: str, ttl_s: int
    ) -> WebRtcCredential:
        with self._open_session(retry_writes=False) as session:
            if self._api_key is None:
                raise TelephonyError(
                    "no API key for WebRTC is configured", permanent=True, code="not-set-up"
                )
            return webrtc.create_credential(
                session,
                self._api_key,
                self._urls,
                did_number=did_number,
                identity=identity,
                ttl_s=ttl_s,
            )

    def close(self) -> None:
        """Close the connections. The adapter can still be used afterwards."""
        with self._lock:
            rest, self._rest = self._rest, None
        if rest is not None:
            rest.close()

    def _callback_urls(self, base: str) -> CallbackUrls:
        return CallbackUrls(base, self._signer)

    @contextmanager
    def _open_session(self, *, retry_writes: bool = True) -> "Iterator[RestSession]":
        if not self._credentials:
            raise TelephonyError("no account is configured", permanent=True, code="no-account")
        with self._get_rest().open_session(retry_writes=retry_writes) as session:
            yield session

    def _get_rest(self) -> "RestClient":
        from vca.telephony.providers.twilio.rest import RestClient  # slow: it imports the SDK

        with self._lock:
            if self._rest is None:
                self._rest = RestClient(
                    self._credentials[0], self._urls.api_base_url, self._timeouts
                )
            return self._rest


def _response(document: str) -> CarrierResponse:
    return CarrierResponse(document.encode(), _XML)
