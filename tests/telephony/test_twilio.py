"""Twilio keeps the contract: its real SDK against a fake that its own OpenAPI document judges."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import pytest

from tests.carriers.twilio import twiml, webhooks
from tests.carriers.twilio.account import TwilioAccount
from tests.carriers.twilio.rig import THEIRS, UNHEARD, Rig, deployment, rig
from tests.carriers.twilio.server import FAILS, REFUSES, SILENT, TwilioServer
from tests.contracts.telephony import (
    CALLBACK,
    CALLER,
    NUMBER,
    STATE,
    Fault,
    Living,
    Rendered,
    TelephonyContract,
)
from vca.settings import Settings
from vca.telephony.providers.twilio import statuses
from vca.telephony.providers.twilio.adapter import TwilioAdapter
from vca.telephony.providers.twilio.callback_urls import build_callback_url
from vca.telephony.providers.twilio.settings import TwilioCredentials
from vca.telephony.providers.twilio.twiml import MAX_TEXT_CHARS
from vca.telephony.types import CarrierEventKind, CarrierRequest, CarrierResponse, LegOutcome

_LEGS: Mapping[LegOutcome, str] = {meant: said for said, meant in statuses.LEG_OUTCOMES.items()}
_FAULTS = {"refuses": (REFUSES, 1), "fails": (FAILS, 2), "is silent": (SILENT, 2)}


@pytest.fixture
def twilio() -> Iterator[Rig]:
    with rig() as made:
        made.account.own("+14155550199")
        yield made


class TestTwilioAdapter(TelephonyContract):
    adapter_class = TwilioAdapter
    signature_headers = ("x-twilio-signature",)
    statuses: ClassVar[Mapping[str, tuple[str, str | None]]] = statuses.STATUSES
    longest_sentence = MAX_TEXT_CHARS

    @pytest.fixture(autouse=True)
    def _rig(self, twilio: Rig) -> None:
        self.server: TwilioServer = twilio.server
        self.twilio: TwilioAccount = twilio.account

    @pytest.fixture
    def adapter(self, twilio: Rig) -> TwilioAdapter:
        return twilio.adapter

    @pytest.fixture
    def twin(self, twilio: Rig) -> Iterator[TwilioAdapter]:
        with closing(twilio.another()) as made:
            yield made

    @pytest.fixture
    def stranger(self, twilio: Rig) -> Iterator[TwilioAdapter]:
        with closing(twilio.another(THEIRS)) as made:
            yield made

    def deployment(self) -> Settings:
        return deployment()

    def account(self, which: Literal["one", "changed"]) -> Mapping[str, str]:
        return {
            "account_sid": f"AC{3:032x}",
            "auth_token": f"{3 if which == 'one' else 4:032x}",
        }

    def ring(self, adapter: Any, *, call_id: str, to: str, caller: str) -> Any:
        form = webhooks.inbound(call_id, to=to, caller=caller, status="ringing")
        return webhooks.signed(_login(adapter), build_callback_url(CALLBACK, "voice"), form)

    def speech(self, adapter: Any, *, call_id: str, state: str, text: str) -> Any:
        said = {"SpeechResult": text, "Confidence": "0.93"}
        return self._turn(adapter, "gather", call_id, said, state=state)

    def told(self, adapter: Any, kind: CarrierEventKind, *, call_id: str, **said: Any) -> Any:
        recording = {"RecordingSid": said.get("recording_id"), "RecordingStatus": "completed"}
        match kind:
            case "answered":
                form = webhooks.outbound(call_id, to=CALLER, caller=NUMBER)
                url = build_callback_url(CALLBACK, "voice", state=STATE)
                return webhooks.signed(_login(adapter), url, form)
            case "speech":
                return self.speech(adapter, call_id=call_id, state=STATE, text=said["speech"])
            case "keys":
                return self._turn(adapter, "gather", call_id, {"Digits": said["keys"]})
            case "more":
                return self._turn(adapter, "redirect", call_id, {})
            case "relayed":
                told = {} if said.get("broken") else {"HandoffData": "done"}
                ended = {"SessionStatus": "ended", "SessionDuration": "12", **told}
                return self._turn(adapter, "connect", call_id, ended)
            case "leg":
                status = {"DialCallStatus": _LEGS[said["leg"]]}
                return self._turn(adapter, "dial", call_id, status)
            case "voicemail":
                return self._turn(adapter, "record", call_id, recording)
            case "recording":
                url = build_callback_url(CALLBACK, "recording", state=STATE)
                return webhooks.signed(_login(adapter), url, {"CallSid": call_id, **recording})
        return None

    def status(self, adapter: Any, *, call_id: str, status: str) -> Any:
        form = webhooks.inbound(call_id, to=NUMBER, caller=CALLER, status=status)
        return webhooks.signed(_login(adapter), build_callback_url(CALLBACK, "status"), form)

    def altered(self, request: CarrierRequest) -> CarrierRequest:
        said = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        return replace(request, body=urlencode({**said, "CallSid": f"CA{0:032x}"}).encode())

    def read(self, response: CarrierResponse) -> Rendered:
        assert response.content_type.startswith("text/xml")
        return twiml.document(response.body).understood()

    def owner(self, adapter: Any, number: str) -> UUID | None:
        held = self.twilio.number(number)
        assert held is not None
        ours, _, tenant = held["friendly_name"].partition("VCA tenant ")
        return UUID(tenant) if tenant and not ours else None

    def call_is(self, adapter: Any, call_id: str, how: Living) -> None:
        self.twilio.carry(call_id, "in-progress" if how == "live" else "completed")

    def directed(self, adapter: Any, call_id: str) -> list[Rendered | None]:
        return [
            twiml.document(said["Twiml"].encode()).understood() if "Twiml" in said else None
            for call, said in self.twilio.told
            if call == call_id
        ]

    def dialled(self, adapter: Any, reference: str) -> list[str]:
        return [
            asked.said["To"][0]
            for asked in self.twilio.asked
            if asked.path.endswith("/Calls.json") and asked.method == "POST"
            if reference in _query(asked.said["StatusCallback"][0])["reference"]
        ]

    def record(self, adapter: Any, call_id: str, audio: bytes) -> None:
        self.twilio.record(call_id, audio)

    def break_carrier(self, adapter: Any, fault: Fault) -> None:
        self.server.fail(*_FAULTS[fault])
        if fault == "is silent":
            adapter.close()
            adapter._timeouts = UNHEARD

    def _turn(
        self, adapter: Any, verb: str, call_id: str, said: dict[str, Any], state: str = STATE
    ) -> CarrierRequest:
        form = {**webhooks.inbound(call_id, to=NUMBER, caller=CALLER), **said}
        url = build_callback_url(CALLBACK, "turn", state=state, verb=verb)
        return webhooks.signed(_login(adapter), url, form)


def _login(adapter: TwilioAdapter) -> TwilioCredentials:
    return adapter._credentials[0]


def _query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)
