"""The contract of telephony adapters for Twilio: the real SDK against a fake Twilio."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import jwt
import pytest

from tests.contract.suites.telephony import (
    CALLER,
    NUMBER,
    STATE,
    UNREAD_FIELDS,
    CallState,
    Fault,
    RenderedReply,
    TelephonyContract,
)
from tests.fakes.carriers.twilio import twiml, webhooks
from tests.fakes.carriers.twilio.account import TwilioAccount
from tests.fakes.carriers.twilio.connected_twilio import (
    API_KEY,
    OTHER_LOGIN,
    SHORT_TIMEOUTS,
    ConnectedTwilio,
    callback_url,
    connected_twilio,
    deployment_settings,
)
from tests.fakes.carriers.twilio.server import FAILS, REJECTS, SILENT, TwilioServer
from vca.settings import Settings
from vca.telephony.providers.twilio import languages, statuses
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.settings import TwilioCredentials
from vca.telephony.providers.twilio.twiml import MAX_TEXT_CHARS
from vca.telephony.types import (
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    LegOutcome,
    WebRtcCredential,
)

_STATUSES_OF_LEGS: Mapping[LegOutcome, str] = {
    outcome: status for status, outcome in statuses.LEG_OUTCOMES.items()
}
_FAULTS = {"refuses": (REJECTS, 1), "fails": (FAILS, 2), "is silent": (SILENT, 2)}


@pytest.fixture
def twilio() -> Iterator[ConnectedTwilio]:
    with connected_twilio() as connected:
        connected.account.add_number("+14155550199")
        yield connected


class TestTwilioAdapter(TelephonyContract):
    adapter_class = TwilioAdapter
    signature_headers = ("x-twilio-signature",)
    statuses: ClassVar[Mapping[str, tuple[str, str | None]]] = statuses.STATUSES
    max_text_length = MAX_TEXT_CHARS

    @pytest.fixture(autouse=True)
    def _use_connected_twilio(self, twilio: ConnectedTwilio) -> None:
        self.server: TwilioServer = twilio.server
        self.twilio: TwilioAccount = twilio.account
        self.account_with_key: TwilioAdapter = twilio.adapter

    @pytest.fixture
    def adapter(self, twilio: ConnectedTwilio) -> TwilioAdapter:
        return twilio.adapter

    @pytest.fixture
    def other_process_adapter(self, twilio: ConnectedTwilio) -> Iterator[TwilioAdapter]:
        with closing(twilio.new_adapter()) as adapter:
            yield adapter

    @pytest.fixture
    def other_account_adapter(self, twilio: ConnectedTwilio) -> Iterator[TwilioAdapter]:
        with closing(twilio.new_adapter(OTHER_LOGIN)) as adapter:
            yield adapter

    def browser_adapter(self) -> TwilioAdapter:
        return self.account_with_key

    def bound_number(self, credential: WebRtcCredential) -> str:
        claims = jwt.decode(credential.token, API_KEY.secret, algorithms=["HS256"])
        return str(claims["grants"]["voice"]["outgoing"]["params"]["VcaNumber"])

    def deployment_settings(self) -> Settings:
        return deployment_settings()

    def account_values(self, version: Literal["one", "changed"]) -> Mapping[str, str]:
        return {
            "account_sid": f"AC{3:032x}",
            "auth_token": f"{3 if version == 'one' else 4:032x}",
        }

    def ring_request(self, adapter: Any, *, call_id: str, to: str, caller: str) -> Any:
        form = webhooks.inbound_form(call_id, to=to, caller=caller, status="ringing")
        return webhooks.signed_request(_login(adapter), callback_url("voice"), form)

    def speech_request(self, adapter: Any, *, call_id: str, state: str, text: str) -> Any:
        fields = {"SpeechResult": text, "Confidence": "0.93"}
        return self._turn(adapter, "gather", call_id, fields, state=state)

    def event_request(
        self, adapter: Any, kind: CarrierEventKind, *, call_id: str, **fields: Any
    ) -> Any:
        recording = {"RecordingSid": fields.get("recording_id"), "RecordingStatus": "completed"}
        match kind:
            case "answered":
                form = webhooks.outbound_form(call_id, to=CALLER, caller=NUMBER)
                url = callback_url("voice", state=STATE)
                return webhooks.signed_request(_login(adapter), url, form)
            case "speech":
                return self.speech_request(
                    adapter, call_id=call_id, state=STATE, text=fields["speech"]
                )
            case "keys":
                return self._turn(adapter, "gather", call_id, {"Digits": fields["keys"]})
            case "more":
                return self._turn(adapter, "redirect", call_id, {})
            case "relayed":
                handoff = {} if fields.get("broken") else {"HandoffData": "done"}
                session_fields = {"SessionStatus": "ended", "SessionDuration": "12", **handoff}
                return self._turn(adapter, "connect", call_id, session_fields)
            case "leg":
                status = {"DialCallStatus": _STATUSES_OF_LEGS[fields["leg"]]}
                return self._turn(adapter, "dial", call_id, status)
            case "voicemail":
                return self._turn(adapter, "record", call_id, recording)
            case "recording":
                url = callback_url("recording", state=STATE)
                return webhooks.signed_request(
                    _login(adapter), url, {"CallSid": call_id, **recording}
                )
        return None

    def status_request(self, adapter: Any, *, call_id: str, status: str) -> Any:
        form = webhooks.inbound_form(call_id, to=NUMBER, caller=CALLER, status=status)
        return webhooks.signed_request(_login(adapter), callback_url("status"), form)

    def spoken_values(self, response: CarrierResponse) -> tuple[set[str], set[str]]:
        elements = list(twiml.parse_twiml(response.body).root.iter())
        names = ("language", "ttsLanguage", "transcriptionLanguage")
        values = {element.get(name) for element in elements for name in names}
        prefixes = {None: "", "Amazon": "Polly.", "Google": "Google."}
        voices = {
            f"{prefixes[element.get('ttsProvider')]}{element.attrib['voice']}"
            for element in elements
            if "voice" in element.attrib
        }
        return {value for value in values if value is not None}, voices

    def known_languages(self) -> Collection[str]:
        return languages.TABLE.recognition.values | languages.TABLE.speech.values

    def alter_request(self, request: CarrierRequest) -> CarrierRequest:
        fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        return replace(request, body=urlencode({**fields, "CallSid": f"CA{0:032x}"}).encode())

    def add_unread_fields(self, adapter: Any, request: CarrierRequest) -> list[CarrierRequest]:
        return [
            webhooks.sign_body(_login(adapter), replace(request, body=request.body + b"&" + fields))
            for fields in UNREAD_FIELDS.values()
        ]

    def read_response(self, response: CarrierResponse) -> RenderedReply:
        assert response.content_type.startswith("text/xml")
        return twiml.parse_twiml(response.body).interpret()

    def registered_owner(self, adapter: Any, number: str) -> UUID | None:
        number_settings = self.twilio.find_number(number)
        assert number_settings is not None
        name_before_prefix, _, tenant = number_settings["friendly_name"].partition("VCA tenant ")
        return UUID(tenant) if tenant and not name_before_prefix else None

    def set_call_state(self, adapter: Any, call_id: str, call_state: CallState) -> None:
        self.twilio.set_call(call_id, "in-progress" if call_state == "live" else "completed")

    def live_updates(self, adapter: Any, call_id: str) -> list[RenderedReply | None]:
        return [
            twiml.parse_twiml(fields["Twiml"].encode()).interpret() if "Twiml" in fields else None
            for call, fields in self.twilio.call_updates
            if call == call_id
        ]

    def dialled_numbers(self, adapter: Any, reference: str) -> list[str]:
        return [
            request.fields["To"][0]
            for request in self.twilio.requests
            if request.path.endswith("/Calls.json") and request.method == "POST"
            if reference in _query(request.fields["StatusCallback"][0])["reference"]
        ]

    def add_recording(self, adapter: Any, call_id: str, audio: bytes) -> None:
        self.twilio.add_recording(call_id, audio)

    def inject_fault(self, adapter: Any, fault: Fault) -> None:
        self.server.inject_fault(*_FAULTS[fault])
        if fault == "is silent":
            adapter.close()
            adapter._timeouts = SHORT_TIMEOUTS

    def _turn(
        self, adapter: Any, verb: str, call_id: str, fields: dict[str, Any], state: str = STATE
    ) -> CarrierRequest:
        form = {**webhooks.inbound_form(call_id, to=NUMBER, caller=CALLER), **fields}
        url = callback_url("turn", state=state, verb=verb)
        return webhooks.signed_request(_login(adapter), url, form)


def _login(adapter: TwilioAdapter) -> TwilioCredentials:
    return adapter._credentials[0]


def _query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)
