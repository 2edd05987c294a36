"""The contract of telephony adapters for Telnyx, against a fake Telnyx server."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest

from tests.contract.suites.telephony import (
    CALLBACK,
    CALLER,
    NUMBER,
    STATE,
    UNREAD_MEMBERS,
    CallState,
    Fault,
    RenderedReply,
    TelephonyContract,
)
from tests.fakes.carriers.telnyx import accounts, command_interpreter
from tests.fakes.carriers.telnyx.accounts import create_adapter, leg_event, new_account
from tests.fakes.carriers.telnyx.calls import CONNECTION_ID
from tests.fakes.carriers.telnyx.server import TelnyxServer, telnyx_server
from tests.fakes.carriers.telnyx.signing import Signer
from vca.kit import json
from vca.settings import Settings
from vca.telephony.providers.telnyx import languages
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import (
    CallReply,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    LegOutcome,
    WebRtcCredential,
)

_DEPLOYMENT_SIGNER, _OTHER_SIGNER = Signer(), Signer()
_ACCOUNT_SIGNERS = {"one": Signer(), "changed": Signer()}
_CONNECTION_IDS = {
    _OTHER_SIGNER: "999",
    _ACCOUNT_SIGNERS["one"]: "111",
    _ACCOUNT_SIGNERS["changed"]: "222",
}
_HANGUP_CAUSES: Mapping[LegOutcome, str] = {
    "answered": "normal_clearing",
    "busy": "user_busy",
    "no_answer": "timeout",
    "cancelled": "originator_cancel",
    "failed": "unspecified",
}
# A request that is not rejected is repeated once.
_FAULT_COUNTS = {"refuses": 1, "fails": 2, "is silent": 2}


@pytest.fixture(scope="module")
def server() -> Iterator[TelnyxServer]:
    with telnyx_server() as server:
        yield server


class TestTelnyxAdapter(TelephonyContract):
    adapter_class = TelnyxAdapter
    signature_headers = ("telnyx-signature-ed25519", "telnyx-timestamp")
    statuses: ClassVar[Mapping[str, tuple[str, str | None]]] = {
        "initiated": ("INITIATED", None),
        "normal_clearing": ("ENDED", "caller_hangup"),
        "time_limit": ("ENDED", "max_duration"),
        "originator_cancel": ("FAILED", "cancelled"),
        "user_busy": ("FAILED", "busy"),
        "call_rejected": ("FAILED", "busy"),
        "no_answer": ("FAILED", "no_answer"),
        "timeout": ("FAILED", "no_answer"),
        "not_found": ("FAILED", "invalid_number"),
        "unspecified": ("FAILED", "carrier_error"),
        "a cause of the future": ("FAILED", "carrier_error"),
    }
    max_text_length = 3_000

    @pytest.fixture(autouse=True)
    def telnyx(self, server: TelnyxServer) -> Iterator[TelnyxServer]:
        with new_account(server) as self.telnyx_server:
            create_adapter(server, _DEPLOYMENT_SIGNER, telnyx_connection_id="").set_up_application()
            yield server

    @pytest.fixture
    def adapter(self) -> TelnyxAdapter:
        return create_adapter(self.telnyx_server, _DEPLOYMENT_SIGNER)

    @pytest.fixture
    def other_process_adapter(self) -> TelnyxAdapter:
        return create_adapter(self.telnyx_server, _DEPLOYMENT_SIGNER)

    @pytest.fixture
    def other_account_adapter(self) -> TelnyxAdapter:
        key, connection_id = _OTHER_SIGNER.public_key, _CONNECTION_IDS[_OTHER_SIGNER]
        return create_adapter(
            self.telnyx_server,
            _DEPLOYMENT_SIGNER,
            telnyx_public_key=key,
            telnyx_connection_id=connection_id,
        )

    def browser_adapter(self) -> TelnyxAdapter:
        events_url = f"{accounts.BASE_URL}/telephony/telnyx/events"
        self.telnyx_server.account.add_credential_connection("777", events_url=events_url)
        return create_adapter(
            self.telnyx_server,
            _DEPLOYMENT_SIGNER,
            telnyx_credential_connection_id="777",
            telnyx_call_parking="on",
        )

    def bound_number(self, credential: WebRtcCredential) -> str:
        [tag] = [
            fields["tag"]
            for fields in self.telnyx_server.account.credentials.values()
            if fields["sip_username"] == credential.identity
        ]
        return str(tag.removeprefix("vca "))

    def deployment_settings(self) -> Settings:
        return accounts.telnyx_settings(self.telnyx_server, _DEPLOYMENT_SIGNER)

    def account_values(self, version: Literal["one", "changed"]) -> Mapping[str, str]:
        signer = _ACCOUNT_SIGNERS[version]
        return {
            "api_key": f"KEY-of-account-{version}",
            "public_key": signer.public_key,
            "connection_id": _CONNECTION_IDS[signer],
        }

    def webhook_request(
        self, adapter: Any, event_type: str, mark: LegState | None = None, **fields: Any
    ) -> Any:
        """Return the webhook request that the account of this adapter sends."""
        account_connections = {
            signer: connection_id
            for signer, connection_id in _CONNECTION_IDS.items()
            if connection_id == adapter.connection_id
        }
        signer = next(iter(account_connections), _DEPLOYMENT_SIGNER)
        connection_id = account_connections.get(signer, CONNECTION_ID)
        event = leg_event(event_type, mark=mark, connection_id=connection_id, **fields)
        return signer.request(event)

    def ring_request(self, adapter: Any, *, call_id: str, to: str, caller: str) -> Any:
        return self.webhook_request(
            adapter,
            "call.initiated",
            call_id=call_id,
            to=to,
            from_=caller,
            direction="incoming",
            state="parked",
        )

    def speech_request(self, adapter: Any, *, call_id: str, state: str, text: str) -> Any:
        transcription = {"transcript": text, "is_final": True, "confidence": 0.9}
        mark = LegState("listening", state, call_id)
        return self.webhook_request(
            adapter, "call.transcription", mark, call_id=call_id, transcription_data=transcription
        )

    def event_request(
        self, adapter: Any, kind: CarrierEventKind, *, call_id: str, **fields: Any
    ) -> Any:
        def event_webhook(event_type: str, phase: Any, **event_fields: Any) -> Any:
            mark = LegState(phase, STATE, "" if phase == "dial" else call_id)
            return self.webhook_request(adapter, event_type, mark, call_id=call_id, **event_fields)

        match kind:
            case "answered":
                return event_webhook("call.answered", "dial", state="answered")
            case "speech":
                return self.speech_request(
                    adapter, call_id=call_id, state=STATE, text=fields["speech"]
                )
            case "keys":
                return event_webhook(
                    "call.gather.ended", "listening", status="valid", digits=fields["keys"]
                )
            case "more":
                return event_webhook("call.speak.ended", "more", status="completed")
            case "relayed":
                reason = "customer_disconnect" if fields.get("broken") else "ended"
                return event_webhook("call.conversation.ended", "relay", reason=reason)
            case "leg":
                target, cause = LegState("target", STATE, call_id), _HANGUP_CAUSES[fields["leg"]]
                return self.webhook_request(
                    adapter, "call.hangup", target, call_id="v3:target", hangup_cause=cause
                )
            case "voicemail":
                recording = fields["recording_id"]
                return event_webhook("call.recording.saved", "voicemail", recording_id=recording)
            case "recording":
                recording = fields["recording_id"]
                return event_webhook("call.recording.saved", "listening", recording_id=recording)
        return None  # Telnyx sends an interruption with the utterance that interrupts

    def status_request(self, adapter: Any, *, call_id: str, status: str) -> Any:
        if status == "initiated":
            mark = LegState("dial", STATE)
            return self.webhook_request(
                adapter, "call.initiated", mark, call_id=call_id, direction="outgoing"
            )
        mark = LegState("listening", STATE, call_id)
        return self.webhook_request(
            adapter, "call.hangup", mark, call_id=call_id, hangup_cause=status
        )

    def spoken_values(self, response: CarrierResponse) -> tuple[set[str], set[str]]:
        commands = json.loads(response.body)["commands"]
        spoken_languages = {command["language"] for command in commands if "language" in command}
        return spoken_languages, {command["voice"] for command in commands if "voice" in command}

    def known_languages(self) -> Collection[str]:
        return languages.RELAY_LANGUAGES.values

    def alter_request(self, request: CarrierRequest) -> CarrierRequest:
        body = json.loads(request.body)
        body["data"]["payload"]["call_control_id"] = "another"
        return replace(request, body=json.dumps(body))

    def add_unread_fields(self, adapter: Any, request: CarrierRequest) -> list[CarrierRequest]:
        signer = next(
            (
                signer
                for signer, connection_id in _CONNECTION_IDS.items()
                if connection_id == adapter.connection_id
            ),
            _DEPLOYMENT_SIGNER,
        )
        return [
            signer.request(request.body.replace(place, place + members + b",", 1))
            for place in (b'"payload":{', b'"data":{')
            for members in UNREAD_MEMBERS.values()
        ]

    def read_response(self, response: CarrierResponse) -> RenderedReply:
        assert response.content_type == "application/json"
        body = json.strict_loads(response.body)
        actions = command_interpreter.interpret_commands(body["commands"], body["phase"])
        return RenderedReply(actions, body["state"], (body["webhook_url"],))

    def registered_owner(self, adapter: Any, number: str) -> UUID | None:
        tags = self.telnyx_server.account.numbers[number]["tags"]
        assert "front desk" in tags  # the tag that the number had before registration
        owners = [tag.removeprefix("vca-tenant:") for tag in tags if tag.startswith("vca-tenant:")]
        return UUID(owners[0]) if owners else None

    def set_call_state(self, adapter: Any, call_id: str, call_state: CallState) -> None:
        switch = self.telnyx_server.account.switch
        leg = switch.legs.get(call_id) or switch.ring(call_id, to=NUMBER, from_=CALLER)
        leg.answered = True
        if call_state == "over":
            switch.end_leg(leg)

    def live_updates(self, adapter: Any, call_id: str) -> list[RenderedReply | None]:
        switch = self.telnyx_server.account.switch
        while switch.pending:
            request = _DEPLOYMENT_SIGNER.request(switch.pending.pop(0))
            facts = adapter.parse(request)
            if facts.kind == "progress":
                adapter.handle(facts, CallReply(()), callback_url=CALLBACK)
        commands = [{"command": command, **body} for command, body in switch.legs[call_id].commands]
        updates = [command for command in commands if "client_state" in command]
        hang_ups = [None] * (len(commands) - len(updates))
        return [*hang_ups, self._interpret(updates)] if updates else [*hang_ups]

    def _interpret(self, commands: list[dict[str, Any]]) -> RenderedReply:
        mark = command_interpreter.read_mark(commands[-1])
        urls = tuple(command["webhook_url"] for command in commands if "webhook_url" in command)
        return RenderedReply(
            command_interpreter.interpret_commands(commands, mark.phase), mark.state, urls
        )

    def dialled_numbers(self, adapter: Any, reference: str) -> list[str]:
        bodies = [
            request.body for request in self.telnyx_server.requests if request.path == "/calls"
        ]
        return [
            body["to"]
            for body in bodies
            if command_interpreter.read_mark(body).reference == reference
        ]

    def add_recording(self, adapter: Any, call_id: str, audio: bytes) -> None:
        self.telnyx_server.account.switch.recordings[f"RE-{call_id}"] = (call_id, audio)

    def inject_fault(self, adapter: Any, fault: Fault) -> None:
        self.telnyx_server.inject_fault(fault, _FAULT_COUNTS[fault])
        adapter._api_client._request_timeout_s = 0.2 if fault == "is silent" else 2.5
