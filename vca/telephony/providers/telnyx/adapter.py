"""The Telnyx adapter: delegates each method of the contract."""

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import ClassVar, Self
from uuid import UUID

from typing_extensions import override

from vca.kit import clock, json
from vca.settings import Settings
from vca.telephony.adapter import (
    InvalidCarrierRequest,
    InvalidCarrierSignature,
    TelephonyAdapter,
    TelephonyError,
)
from vca.telephony.providers.telnyx import (
    api,
    application,
    call_log,
    command_builder,
    control,
    events,
    languages,
    numbers,
    recordings,
    signature,
    webrtc,
)
from vca.telephony.providers.telnyx.api import ApiClient
from vca.telephony.providers.telnyx.application import ApplicationSettings, ApplicationSetup
from vca.telephony.providers.telnyx.control import CallControl
from vca.telephony.providers.telnyx.events import EventContext
from vca.telephony.state_signature import StateSigner
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

_EVENTS_ACTION = "events"
_API_KEY = re.compile(r"[!-~]{8,200}", re.ASCII)
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII)
_CONNECTION_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


class TelnyxAdapter(TelephonyAdapter):
    """A Telnyx account: an API key, the public key for signatures, and the application."""

    name: ClassVar[str] = "telnyx"
    capabilities: ClassVar[Capabilities] = Capabilities(
        relay=True,
        languages=languages.TABLE,
        turn=frozenset({"interruptible", "greeting_interruptible"}),
    )
    websocket_format: ClassVar[WebSocketFormat | None] = WebSocketFormat(
        call_id_field="callControlId"
    )
    actions: ClassVar[frozenset[str]] = frozenset({_EVENTS_ACTION})
    account_fields: ClassVar[tuple[AccountField, ...]] = (
        AccountField("api_key", _API_KEY, "API key, from API Keys in Mission Control."),
        AccountField(
            "public_key",
            _PUBLIC_KEY,
            "Key that Telnyx signs with, from Public Key in Mission Control.",
            secret=False,
        ),
        AccountField(
            "connection_id",
            _CONNECTION_ID,
            "ID of the call-control application that sends its events to VCA.",
            secret=False,
        ),
        AccountField(
            "credential_connection_id",
            _CONNECTION_ID,
            "ID of the credential connection that browsers call through.",
            secret=False,
            required=False,
        ),
    )

    def __init__(
        self,
        *,
        api_client: ApiClient,
        state_signer: StateSigner,
        public_keys: Sequence[str] = (),
        connection_ids: Sequence[str] = (),
        credential_connection_id: str = "",
        application_settings: ApplicationSettings | None = None,
        parks_calls: bool = False,
    ) -> None:
        """Use the first key and the first connection id. Signatures of the others stay valid.

        `parks_calls`: the credential connection parks outbound calls, so that browsers may use it.
        """
        self._parks_calls = parks_calls
        self._api_client = api_client
        self._signer = state_signer
        self._public_keys = tuple(base64.b64decode(key) for key in public_keys)
        self._connection_ids = frozenset(filter(None, connection_ids))
        self.connection_id = connection_ids[0] if connection_ids else ""
        self._credential_connection_id = credential_connection_id
        self._application_settings = application_settings or ApplicationSettings("")
        self._registration_lock = Lock()

    @classmethod
    @override
    def from_settings(cls, settings: Settings) -> Self | None:
        if not settings.telnyx_api_key:
            return None
        return cls(
            api_client=ApiClient(settings.telnyx_api_key, base_url=settings.telnyx_api_base_url),
            state_signer=StateSigner(settings.secret_key),
            public_keys=[settings.telnyx_public_key],
            connection_ids=[settings.telnyx_connection_id],
            credential_connection_id=settings.telnyx_credential_connection_id,
            application_settings=_application_settings(settings),
            parks_calls=settings.telnyx_call_parking == "on",
        )

    @classmethod
    @override
    def from_account(cls, settings: Settings, account: Account | None) -> Self:
        signer = StateSigner(settings.secret_key)
        if account is None:
            return cls(api_client=ApiClient(""), state_signer=signer)
        versions = [fields for fields in (account.fields, account.previous) if fields is not None]
        return cls(
            api_client=ApiClient(account.fields["api_key"], base_url=settings.telnyx_api_base_url),
            state_signer=signer,
            public_keys=[fields["public_key"] for fields in versions],
            connection_ids=[fields["connection_id"] for fields in versions],
            credential_connection_id=account.fields.get("credential_connection_id", ""),
            application_settings=_application_settings(settings),
            parks_calls=settings.telnyx_call_parking == "on",
        )

    @override
    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        session, connection_id = self._api_client.open_session(), self._require_connection_id()
        # Telnyx has no conditional update. The registry has one owner for each number, and this
        # lock keeps other threads from reading a number that is about to be tagged.
        if not self._registration_lock.acquire(timeout=api.OPERATION_TIMEOUT_S):
            raise TelephonyError("another registration takes too long", permanent=False)
        try:
            numbers.register(session, tenant_id, did_number, connection_id)
        finally:
            self._registration_lock.release()

    @override
    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        numbers.unregister(
            self._api_client.open_session(), tenant_id, did_number, self.connection_id
        )

    @override
    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[NumberSetting, ...]:
        session = self._api_client.open_session()
        number = numbers.find_number(session, did_number)
        if number is None:
            return ()
        number_settings = numbers.compare(number, tenant_id, self.connection_id)
        return number_settings + application.compare(
            session, self._application_settings, self.connection_id
        )

    def set_up_application(self) -> ApplicationSetup:
        """Create or update the application that calls come through.

        Failures as for `register_number`.
        """
        return application.ensure_application(
            self._api_client.open_session(), self._application_settings, self.connection_id
        )

    @override
    def parse(self, request: CarrierRequest) -> CarrierEvent:
        if request.action != _EVENTS_ACTION:
            raise InvalidCarrierRequest("unknown action")
        carrier_event = self._check_deferred(
            events.parse_carrier_event(request, self._signer, self.added_ranges)
        )
        if carrier_event.unsigned is None:
            return carrier_event
        return replace(carrier_event, unsigned=self._check_deferred(carrier_event.unsigned))

    def _check_deferred(self, carrier_event: CarrierEvent) -> CarrierEvent:
        """Return the event; as `due` if its commands would dial without a valid permission."""
        is_unpermitted = control.has_unpermitted_dial(
            _context(carrier_event).deferred,
            call_id=carrier_event.provider_call_id,
            signer=self._signer,
            now=clock.now(),
        )
        return replace(carrier_event, kind="due") if is_unpermitted else carrier_event

    def verify(self, request: CarrierRequest) -> None:
        """Check the signature; reject an event of another application of the same account."""
        signature.verify_signature(request, keys=self._public_keys, now=clock.now())
        try:
            connection_id = events.parse_event(request.body).text_field("connection_id")
        except InvalidCarrierRequest:
            raise InvalidCarrierSignature("the signed body is not an event") from None
        if self._parks_calls and connection_id == self._credential_connection_id != "":
            return
        if self._connection_ids and connection_id and connection_id not in self._connection_ids:
            raise InvalidCarrierSignature("the event belongs to another application")

    def verify_websocket(self, request: CarrierRequest) -> None:
        """Accept every handshake. Telnyx signs none; the token in the first frame authenticates."""

    @override
    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        call_id = call_metadata.call_id
        return CallEvent("RINGING", call_id, call_metadata.timestamp, f"call.initiated-{call_id}")

    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        """Return the commands that `handle` sends, for inspection. Telnyx does not read them."""
        plan = command_builder.build_plan(reply)
        body = {
            "commands": [command_builder.without_permit(command) for command in plan.commands],
            "phase": plan.phase,
            "state": plan.state,
            "webhook_url": control.events_url(callback_url),
        }
        return CarrierResponse(json.dumps(body), "application/json")

    @override
    def handle(
        self, carrier_event: CarrierEvent, reply: CallReply, *, callback_url: str
    ) -> CarrierResponse:
        if reply.actions or _context(carrier_event).deferred is not None:
            try:
                self._execute(carrier_event, reply, callback_url)
            except TelephonyError as error:
                if error.code not in api.CALL_ENDED_CODES:
                    raise
        return CarrierResponse(b"", "text/plain")

    @override
    def hang_up(self, provider_call_id: str) -> None:
        control.hang_up(self._api_client.open_session(), self._signer, provider_call_id)

    @override
    def update_live_call(
        self, provider_call_id: str, reply: CallReply, *, callback_url: str
    ) -> None:
        control.update_live_call(
            self._api_client.open_session(),
            self._signer,
            provider_call_id,
            reply,
            callback_url=callback_url,
        )

    @override
    def place_call(self, call: OutboundCall) -> str:
        session, connection_id = self._api_client.open_session(), self._require_connection_id()
        return control.dial(session, self._signer, call, connection_id)

    @override
    def find_call(self, query: PlacedCallQuery) -> str | None:
        session, connection_id = self._api_client.open_session(), self._require_connection_id()
        return call_log.find_placed_call(session, self._signer, query, connection_id)

    @override
    def find_call_status(self, provider_call_id: str) -> CallStatus | None:
        session = self._api_client.open_session()
        return call_log.find_call_status(session, self._signer, provider_call_id)

    @override
    def fetch_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        return recordings.fetch(
            self._api_client.open_session(), provider_call_id, provider_recording_id
        )

    @override
    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        recordings.delete(self._api_client.open_session(), provider_call_id, provider_recording_id)

    @property
    def supports_webrtc(self) -> bool:
        """Whether TELNYX_CALL_PARKING is on: without parking, a browser dials what it likes."""
        return self._parks_calls

    def check_webrtc(self) -> tuple[NumberSetting, ...]:
        """Compare the credential connection, if there is one that parks calls."""
        if not (self._parks_calls and self._credential_connection_id):
            return ()
        return webrtc.compare(
            self._api_client.open_session(),
            self._credential_connection_id,
            self._application_settings.events_url,
        )

    def create_webrtc_credential(
        self, did_number: str, *, identity: str, ttl_s: int
    ) -> WebRtcCredential:
        """Create a separate credential for each browser, if the connection parks its calls."""
        return webrtc.create_credential(
            self._api_client.open_session(),
            self._credential_connection_id if self._parks_calls else "",
            self._application_settings.events_url,
            did_number=did_number,
            identity=identity,
            ttl_s=ttl_s,
        )

    def _execute(self, carrier_event: CarrierEvent, reply: CallReply, callback_url: str) -> None:
        context = _context(carrier_event)
        call_control = CallControl(
            self._api_client.open_session(),
            self._signer,
            carrier_event.provider_call_id,
            carrier_event.request_id,
            callback_url,
            context.own_number,
            context.session_id,
        )
        if carrier_event.unanswered:
            control.answer_or_reject(call_control, reply)
        else:
            control.continue_call(call_control, carrier_event, context.deferred, reply)

    def _require_connection_id(self) -> str:
        if not self.connection_id:
            raise TelephonyError(
                "TELNYX_CONNECTION_ID is not set: run `flask telnyx setup`",
                permanent=True,
                code="not-set-up",
            )
        return self.connection_id


def _context(carrier_event: CarrierEvent) -> EventContext:
    """Return what `parse` has stored with the event for `handle`."""
    context = carrier_event.adapter_data
    return context if isinstance(context, EventContext) else EventContext()


def _application_settings(settings: Settings) -> ApplicationSettings:
    base = f"{settings.public_base_url}/telephony/telnyx/"
    fallback_url = settings.carrier_fallback_url
    return ApplicationSettings(control.events_url(base), fallback_url)
