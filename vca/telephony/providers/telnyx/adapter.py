"""The carrier Telnyx: the contract, each method in one sentence."""

import base64
import re
from collections.abc import Sequence
from datetime import timedelta
from threading import Lock
from typing import ClassVar, Self
from uuid import UUID

from vca.kit import clock, json
from vca.kit.config import Settings
from vca.telephony.adapter import (
    BadCarrierRequest,
    SignatureRefused,
    TelephonyAdapter,
    TelephonyError,
)
from vca.telephony.providers.telnyx import (
    api,
    application,
    audio,
    control,
    events,
    history,
    marks,
    numbers,
    orders,
    signature,
)
from vca.telephony.providers.telnyx.api import Api
from vca.telephony.providers.telnyx.application import SetUp, Wanted
from vca.telephony.providers.telnyx.control import Line
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

_EVENTS = "events"
_API_KEY = re.compile(r"[!-~]{8,200}", re.ASCII)
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII)
_CONNECTION = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


class TelnyxAdapter(TelephonyAdapter):
    """One account with Telnyx: a key for its API, its key for signatures, its application."""

    name: ClassVar[str] = "telnyx"
    capabilities: ClassVar[Capabilities] = Capabilities(relay=True, webrtc=True)
    relay: ClassVar[RelayDialect | None] = RelayDialect(call_id="callControlId")
    actions: ClassVar[frozenset[str]] = frozenset({_EVENTS})
    account_fields: ClassVar[tuple[AccountField, ...]] = (
        AccountField("api_key", _API_KEY, "An API key, of Mission Control's API Keys."),
        AccountField(
            "public_key",
            _PUBLIC_KEY,
            "What Telnyx signs with, of Mission Control's Public Key.",
            secret=False,
        ),
        AccountField(
            "connection_id",
            _CONNECTION,
            "The id of the call-control application whose events come to us.",
            secret=False,
        ),
        AccountField(
            "credential_connection_id",
            _CONNECTION,
            "The id of the credential connection that browsers call through.",
            secret=False,
            required=False,
        ),
    )

    def __init__(
        self,
        *,
        rest: Api,
        public_keys: Sequence[str] = (),
        connection_ids: Sequence[str] = (),
        credential_connection_id: str = "",
        wanted: Wanted | None = None,
    ) -> None:
        """Of keys and applications the first is the present one; the others sign still."""
        self._rest = rest
        self._keys = tuple(base64.b64decode(key) for key in public_keys)
        self._known = frozenset(filter(None, connection_ids))
        self.connection_id = connection_ids[0] if connection_ids else ""
        self._credential_connection_id = credential_connection_id
        self._wanted = wanted or Wanted("")
        self._registering = Lock()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        if not settings.telnyx_api_key:
            return None
        return cls(
            rest=Api(settings.telnyx_api_key, base_url=settings.telnyx_api_base_url),
            public_keys=[settings.telnyx_public_key],
            connection_ids=[settings.telnyx_connection_id],
            credential_connection_id=settings.telnyx_credential_connection_id,
            wanted=_wanted(settings),
        )

    @classmethod
    def of_account(cls, settings: Settings, account: Account | None) -> Self:
        if account is None:
            return cls(rest=Api(""))
        given = [fields for fields in (account.fields, account.previous) if fields is not None]
        return cls(
            rest=Api(account.fields["api_key"], base_url=settings.telnyx_api_base_url),
            public_keys=[fields["public_key"] for fields in given],
            connection_ids=[fields["connection_id"] for fields in given],
            credential_connection_id=account.fields.get("credential_connection_id", ""),
            wanted=_wanted(settings),
        )

    def register_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        ask, connection_id = self._rest.asking(), self._set_up_connection()
        # Telnyx changes a number without a condition. The registry has one owner for each; within
        # this process nobody looks at a number while another one is about to tag it.
        if not self._registering.acquire(timeout=api.CALL_S):
            raise TelephonyError("other numbers are being registered", permanent=False)
        try:
            numbers.register(ask, tenant_id, did_number, connection_id)
        finally:
            self._registering.release()

    def unregister_number(self, tenant_id: UUID, phone_number_id: UUID, did_number: str) -> None:
        numbers.unregister(self._rest.asking(), tenant_id, did_number, self.connection_id)

    def check_number(
        self, tenant_id: UUID, phone_number_id: UUID, did_number: str
    ) -> tuple[Held, ...]:
        ask = self._rest.asking()
        number = numbers.find(ask, did_number)
        if number is None:
            return ()
        own = numbers.held(number, tenant_id, self.connection_id)
        return own + application.held(ask, self._wanted, self.connection_id)

    def set_up(self) -> SetUp:
        """Make or update the application that calls come through. Failures as for the others."""
        return application.set_up(self._rest.asking(), self._wanted, self.connection_id)

    def parse(self, request: CarrierRequest) -> CarrierFacts:
        if request.action != _EVENTS:
            raise BadCarrierRequest("no such action")
        return events.facts(request)

    def verify(self, request: CarrierRequest) -> None:
        """An event of another application of the same account is not for us either."""
        signature.check(request, keys=self._keys, now=clock.now())
        try:
            told = events.read(request.body).text("connection_id")
        except BadCarrierRequest:
            raise SignatureRefused("what is signed is no event") from None
        if self._known and told and told not in self._known:
            raise SignatureRefused("the event is of another application")

    def verify_socket(self, request: CarrierRequest) -> None:
        """Telnyx signs no handshake: a socket is known by the token that it then tells."""

    def on_inbound_call(self, call_metadata: CallMetadata) -> CallEvent:
        call = call_metadata.call_id
        return CallEvent("RINGING", call, call_metadata.timestamp, f"call.initiated-{call}")

    def render(self, reply: CallReply, *, callback_url: str) -> CarrierResponse:
        """The commands that `answer` sends, for whoever wants to see them: Telnyx reads none."""
        plan = orders.of(reply)
        body = {
            "commands": plan.orders,
            "phase": plan.phase,
            "state": plan.state,
            "webhook_url": control.events_url(callback_url),
        }
        return CarrierResponse(json.dumps(body), "application/json")

    def answer(
        self, facts: CarrierFacts, reply: CallReply, *, callback_url: str
    ) -> CarrierResponse:
        if reply.actions or facts.carried:
            try:
                self._answer(facts, reply, callback_url)
            except TelephonyError as error:
                if error.code not in api.OVER:
                    raise
        return CarrierResponse(b"", "text/plain")

    def hang_up(self, provider_call_id: str) -> None:
        control.hang_up(self._rest.asking(), provider_call_id)

    def direct(self, provider_call_id: str, reply: CallReply, *, callback_url: str) -> None:
        control.direct(self._rest.asking(), provider_call_id, reply, callback_url=callback_url)

    def place_call(self, call: OutboundCall) -> str:
        return control.dial(self._rest.asking(), call, self._set_up_connection())

    def find_call(self, call: OutboundCall) -> str | None:
        return history.placed(self._rest.asking(), call, self._set_up_connection())

    def look_up(self, provider_call_id: str) -> Seen | None:
        return history.seen(self._rest.asking(), provider_call_id)

    def recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> Recording | None:
        return audio.read(self._rest.asking(), provider_call_id, provider_recording_id)

    def delete_recording(
        self, provider_call_id: str, provider_recording_id: str | None = None
    ) -> None:
        audio.delete(self._rest.asking(), provider_call_id, provider_recording_id)

    def webrtc_credential(self, did_number: str, *, identity: str, ttl_s: int) -> WebRtcCredential:
        """A credential of its own for each browser: it ends, and the token of it with it."""
        ask = self._rest.asking()
        if not self._credential_connection_id:
            raise TelephonyError(
                "no credential connection is configured", permanent=True, code="not-set-up"
            )
        expires_at = clock.now() + timedelta(seconds=ttl_s)
        made = ask(
            ask.client.telephony_credentials.create,
            connection_id=self._credential_connection_id,
            name=identity,
            expires_at=expires_at.isoformat(),
        )
        credential = api.data(made)
        token = ask(ask.client.telephony_credentials.create_token, credential.id)
        return WebRtcCredential(str(token).strip(), credential.sip_username, expires_at)

    def _answer(self, facts: CarrierFacts, reply: CallReply, callback_url: str) -> None:
        mark = marks.read(facts.carried)
        line = Line(
            self._rest.asking(),
            facts.provider_call_id,
            facts.request_id,
            callback_url,
            mark.own_number if mark else "",
        )
        if facts.unanswered:
            control.take(line, reply)
        else:
            control.go_on(line, facts, mark, reply)

    def _set_up_connection(self) -> str:
        if not self.connection_id:
            raise TelephonyError(
                "TELNYX_CONNECTION_ID is not set: `flask telnyx setup` makes an application",
                permanent=True,
                code="not-set-up",
            )
        return self.connection_id


def _wanted(settings: Settings) -> Wanted:
    base = f"{settings.public_base_url}/telephony/telnyx/"
    fallback_url = settings.carrier_fallback_url
    return Wanted(control.events_url(base), fallback_url)
