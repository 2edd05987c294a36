"""Telnyx keeps the contract."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest

from tests.contract.suites.telephony import (
    CALLBACK,
    CALLER,
    NUMBER,
    STATE,
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
from vca.telephony.providers.telnyx.adapter import TelnyxAdapter
from vca.telephony.providers.telnyx.client_state import LegState
from vca.telephony.types import (
    CallReply,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    LegOutcome,
)

_OURS, _STRANGERS = Signer(), Signer()
_ACCOUNTS = {"one": Signer(), "changed": Signer()}
_CONNECTIONS = {_STRANGERS: "999", _ACCOUNTS["one"]: "111", _ACCOUNTS["changed"]: "222"}
_CAUSES: Mapping[LegOutcome, str] = {
    "answered": "normal_clearing",
    "busy": "user_busy",
    "no_answer": "timeout",
    "cancelled": "originator_cancel",
    "failed": "unspecified",
}
# What is not refused is asked once more.
_TRIES = {"refuses": 1, "fails": 2, "is silent": 2}


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
        with new_account(server) as self.at:
            create_adapter(server, _OURS, telnyx_connection_id="").set_up_application()
            yield server

    @pytest.fixture
    def adapter(self) -> TelnyxAdapter:
        return create_adapter(self.at, _OURS)

    @pytest.fixture
    def other_process_adapter(self) -> TelnyxAdapter:
        return create_adapter(self.at, _OURS)

    @pytest.fixture
    def other_account_adapter(self) -> TelnyxAdapter:
        key, connection_id = _STRANGERS.public_key, _CONNECTIONS[_STRANGERS]
        return create_adapter(
            self.at, _OURS, telnyx_public_key=key, telnyx_connection_id=connection_id
        )

    def deployment_settings(self) -> Settings:
        return accounts.telnyx_settings(self.at, _OURS)

    def account_values(self, version: Literal["one", "changed"]) -> Mapping[str, str]:
        signer = _ACCOUNTS[version]
        return {
            "api_key": f"KEY-of-account-{version}",
            "public_key": signer.public_key,
            "connection_id": _CONNECTIONS[signer],
        }

    def tell(self, adapter: Any, event_type: str, mark: LegState | None = None, **said: Any) -> Any:
        """The request that this adapter's account would send."""
        known = {one: of for one, of in _CONNECTIONS.items() if of == adapter.connection_id}
        signer = next(iter(known), _OURS)
        connection_id = known.get(signer, CONNECTION_ID)
        return signer.request(leg_event(event_type, mark=mark, connection_id=connection_id, **said))

    def ring_request(self, adapter: Any, *, call_id: str, to: str, caller: str) -> Any:
        said = {"call_id": call_id, "to": to, "from_": caller, "direction": "incoming"}
        return self.tell(adapter, "call.initiated", state="parked", **said)

    def speech_request(self, adapter: Any, *, call_id: str, state: str, text: str) -> Any:
        heard = {"transcript": text, "is_final": True, "confidence": 0.9}
        mark = LegState("listening", state, call_id)
        return self.tell(
            adapter, "call.transcription", mark, call_id=call_id, transcription_data=heard
        )

    def event_request(
        self, adapter: Any, kind: CarrierEventKind, *, call_id: str, **fields: Any
    ) -> Any:
        def tell(event_type: str, phase: Any, **more: Any) -> Any:
            mark = LegState(phase, STATE, call_id)
            return self.tell(adapter, event_type, mark, call_id=call_id, **more)

        match kind:
            case "answered":
                return tell("call.answered", "dial", state="answered")
            case "speech":
                return self.speech_request(
                    adapter, call_id=call_id, state=STATE, text=fields["speech"]
                )
            case "keys":
                return tell("call.gather.ended", "listening", status="valid", digits=fields["keys"])
            case "more":
                return tell("call.speak.ended", "more", status="completed")
            case "relayed":
                reason = "customer_disconnect" if fields.get("broken") else "ended"
                return tell("call.conversation.ended", "relay", reason=reason)
            case "leg":
                return tell("call.hangup", "target", hangup_cause=_CAUSES[fields["leg"]])
            case "voicemail":
                recording = fields["recording_id"]
                return tell("call.recording.saved", "voicemail", recording_id=recording)
            case "recording":
                recording = fields["recording_id"]
                return tell("call.recording.saved", "listening", recording_id=recording)
        return None  # an interruption is told with the words that interrupt

    def status_request(self, adapter: Any, *, call_id: str, status: str) -> Any:
        if status == "initiated":
            mark = LegState("dial", STATE)
            said = {"call_id": call_id, "direction": "outgoing"}
            return self.tell(adapter, "call.initiated", mark, **said)
        mark = LegState("listening", STATE, call_id)
        return self.tell(adapter, "call.hangup", mark, call_id=call_id, hangup_cause=status)

    def alter_request(self, request: CarrierRequest) -> CarrierRequest:
        said = json.loads(request.body)
        said["data"]["payload"]["call_control_id"] = "another"
        return replace(request, body=json.dumps(said))

    def read_response(self, response: CarrierResponse) -> RenderedReply:
        assert response.content_type == "application/json"
        said = json.strict_loads(response.body)
        actions = command_interpreter.interpret_commands(said["commands"], said["phase"])
        return RenderedReply(actions, said["state"], (said["webhook_url"],))

    def registered_owner(self, adapter: Any, number: str) -> UUID | None:
        tags = self.at.account.numbers[number]["tags"]
        assert "front desk" in tags  # whoever has tagged it so
        owners = [tag.removeprefix("vca-tenant:") for tag in tags if tag.startswith("vca-tenant:")]
        return UUID(owners[0]) if owners else None

    def set_call_state(self, adapter: Any, call_id: str, call_state: CallState) -> None:
        switch = self.at.account.switch
        leg = switch.legs.get(call_id) or switch.ring(call_id, to=NUMBER, from_=CALLER)
        leg.answered = True
        if call_state == "over":
            switch.end_leg(leg)

    def live_updates(self, adapter: Any, call_id: str) -> list[RenderedReply | None]:
        switch = self.at.account.switch
        while switch.pending:
            request = _OURS.request(switch.pending.pop(0))
            facts = adapter.parse(request)
            if facts.kind == "progress":
                adapter.handle(facts, CallReply(()), callback_url=CALLBACK)
        given = switch.legs[call_id].commands
        ordered = [{"command": command, **body} for command, body in given]
        ours = [order for order in ordered if "client_state" in order]
        told = [None] * (len(ordered) - len(ours))
        return [*told, self._understood(ours)] if ours else [*told]

    def _understood(self, ours: list[dict[str, Any]]) -> RenderedReply:
        mark = command_interpreter.read_mark(ours[-1])
        urls = tuple(order["webhook_url"] for order in ours if "webhook_url" in order)
        return RenderedReply(
            command_interpreter.interpret_commands(ours, mark.phase), mark.state, urls
        )

    def dialled_numbers(self, adapter: Any, reference: str) -> list[str]:
        asked = [each.body for each in self.at.requests if each.path == "/calls"]
        ours = [
            body for body in asked if command_interpreter.read_mark(body).reference == reference
        ]
        return [body["to"] for body in ours]

    def add_recording(self, adapter: Any, call_id: str, audio: bytes) -> None:
        self.at.account.switch.recordings[f"RE-{call_id}"] = (call_id, audio)

    def inject_fault(self, adapter: Any, fault: Fault) -> None:
        self.at.inject_fault(fault, _TRIES[fault])
        adapter._api_client._request_timeout_s = 0.2 if fault == "is silent" else 2.5
