"""The contract of telephony adapters for the fake carrier."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest

from tests.contract.suites.telephony import (
    CALLBACK,
    STATE,
    UNREAD_MEMBERS,
    CallState,
    Fault,
    RenderedReply,
    TelephonyContract,
    new_call_id,
)
from vca.kit import json
from vca.settings import Settings
from vca.telephony.adapter import TelephonyAdapter, TelephonyError
from vca.telephony.dial_permit import DialPermit
from vca.telephony.providers.fake.adapter import SIGNATURE_HEADER, FakeTelephonyAdapter
from vca.telephony.types import (
    Action,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    Forward,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

_ACTIONS: dict[str, type[Action]] = {
    "say": Say,
    "listen": Listen,
    "forward": Forward,
    "hang_up": HangUp,
    "reject": Reject,
    "transfer": Transfer,
    "take_voicemail": TakeVoicemail,
    "send_keys": SendKeys,
    "record": Record,
    "come_back": Poll,
}
# Request fields of the fake carrier whose names differ from those of `CarrierEvent`.
_REQUEST_FIELDS = {"speech": "text", "leg": "outcome"}


def _action(fields: dict[str, Any]) -> Action:
    arguments = {name: value for name, value in fields.items() if name != "type"}
    if "number" in arguments:
        arguments["permit"] = DialPermit(arguments.pop("number"))
    return _ACTIONS[fields["type"]](**arguments)


def _settings(**overrides: Any) -> Settings:
    defaults = {
        "database_url": "postgresql://localhost/nowhere",
        "app_env": "development",
        "app_name": "VCA",
        "debug": False,
        "secret_key": "a-secret-of-this-test-alone-and-no-other",
    }
    return Settings(**{**defaults, **overrides})


class TestFakeTelephonyAdapter(TelephonyContract):
    adapter_class = FakeTelephonyAdapter

    def browser_adapter(self) -> None:
        return None

    signature_headers = ("x-fake-signature",)
    statuses: ClassVar[Mapping[str, tuple[str, str | None]]] = {
        "ringing": ("RINGING", None),
        "answered": ("ANSWERED", None),
        "completed": ("ENDED", "caller_hangup"),
        "busy": ("FAILED", "busy"),
        "no_answer": ("FAILED", "no_answer"),
        "cancelled": ("FAILED", "cancelled"),
        "failed": ("FAILED", "carrier_error"),
    }
    max_text_length = 3_000

    @pytest.fixture
    def adapter(self) -> FakeTelephonyAdapter:
        return FakeTelephonyAdapter()

    @pytest.fixture
    def other_process_adapter(self) -> FakeTelephonyAdapter:
        return FakeTelephonyAdapter()

    @pytest.fixture
    def other_account_adapter(self) -> FakeTelephonyAdapter:
        return FakeTelephonyAdapter("another account's secret")

    def deployment_settings(self) -> Settings:
        return _settings()

    def account_values(self, version: Literal["one", "changed"]) -> Mapping[str, str]:
        return {
            "account_id": "acme",
            "secret": f"the secret of account {version}".replace(" ", "-"),
        }

    def ring_request(self, adapter: Any, *, call_id: str, to: str, caller: str) -> Any:
        return adapter.signed_request("voice", CALLBACK, call_id=call_id, to=to, **{"from": caller})

    def speech_request(self, adapter: Any, *, call_id: str, state: str, text: str) -> Any:
        return adapter.signed_request("speech", CALLBACK, call_id=call_id, state=state, text=text)

    def event_request(
        self, adapter: Any, kind: CarrierEventKind, *, call_id: str, **fields: Any
    ) -> Any:
        request_fields = {_REQUEST_FIELDS.get(name, name): value for name, value in fields.items()}
        return adapter.signed_request(
            kind, CALLBACK, call_id=call_id, state=STATE, **request_fields
        )

    def status_request(self, adapter: Any, *, call_id: str, status: str) -> Any:
        return adapter.signed_request("status", CALLBACK, call_id=call_id, status=status)

    def alter_request(self, request: CarrierRequest) -> CarrierRequest:
        body = {**json.loads(request.body), "call_id": "another"}
        return replace(request, body=json.dumps(body))

    def add_unread_fields(self, adapter: Any, request: CarrierRequest) -> list[CarrierRequest]:
        bodies = (b"{" + members + b"," + request.body[1:] for members in UNREAD_MEMBERS.values())
        return [
            replace(
                request,
                body=body,
                headers={SIGNATURE_HEADER: adapter.sign(request.url, body).decode()},
            )
            for body in bodies
        ]

    def read_response(self, response: CarrierResponse) -> RenderedReply:
        assert response.content_type == "application/json"
        body = json.strict_loads(response.body)
        actions = tuple(_action(fields) for fields in body["actions"])
        return RenderedReply(actions, body["state"], (body["callback_url"],))

    def registered_owner(self, adapter: Any, number: str) -> UUID | None:
        owner: UUID | None = adapter.registered_numbers.get(number)
        return owner

    def set_call_state(self, adapter: Any, call_id: str, call_state: CallState) -> None:
        if call_state == "live":
            adapter.live_calls.add(call_id)
        else:
            adapter.end_silently(call_id)

    def live_updates(self, adapter: Any, call_id: str) -> list[RenderedReply | None]:
        return [
            RenderedReply(
                tuple(map(_action, details["actions"])),
                details["state"],
                (details["callback_url"],),
            )
            if operation == "direct"
            else None
            for operation, details in adapter.operations
            if operation in ("direct", "hang_up") and details["call_id"] == call_id
        ]

    def dialled_numbers(self, adapter: Any, reference: str) -> list[str]:
        return [
            details["number"]
            for operation, details in adapter.operations
            if operation == "place_call"
            and details["reference"] == reference
            and reference in adapter.placed_calls
        ]

    def add_recording(self, adapter: Any, call_id: str, audio: bytes) -> None:
        adapter.add_recording(call_id, audio)

    def inject_fault(self, adapter: Any, fault: Fault) -> None:
        adapter.fail_next(
            TelephonyError(
                f"the carrier {fault}",
                permanent=fault == "refuses",
                ambiguous=fault == "is silent",
            )
        )


def test_the_fake_carrier_can_be_created_without_arguments() -> None:
    assert isinstance(FakeTelephonyAdapter(), TelephonyAdapter)


def test_a_deployments_fake_carrier_has_its_own_secret_except_in_production() -> None:
    production = {
        "app_env": "production",
        "api_key_peppers": ("a-pepper-of-this-test-alone-and-no-other",),
        "encryption_keys": (bytes(32),),
    }
    carrier = FakeTelephonyAdapter.from_settings(_settings())
    assert carrier is not None
    request = carrier.signed_request("voice", CALLBACK, call_id=new_call_id())

    second_carrier = FakeTelephonyAdapter.from_settings(_settings())
    other_deployments_carrier = FakeTelephonyAdapter.from_settings(
        _settings(secret_key="another-deployments-" * 3)
    )

    assert second_carrier is not None
    assert other_deployments_carrier is not None
    second_carrier.verify(request)
    assert other_deployments_carrier.sign(request.url, request.body) != carrier.sign(
        request.url, request.body
    )
    assert FakeTelephonyAdapter.from_settings(_settings(**production)) is None


def test_the_signature_covers_the_url() -> None:
    carrier = FakeTelephonyAdapter()
    request = carrier.signed_request("voice", CALLBACK, call_id=new_call_id())

    redirected = replace(request, url=request.url.replace("voice.example.com", "example.com"))

    assert carrier.sign(redirected.url, request.body) != carrier.sign(request.url, request.body)
