"""The contract suite of carriers' adapters, in the order of `vca.telephony.adapter`.

A subclass provides three adapters and acts as the carrier, through the methods below the fixtures.
"""

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from time import monotonic
from typing import Any, ClassVar, Literal, get_args
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vca.kit.json import is_storable
from vca.kit.phone import is_e164
from vca.kit.text import sanitize
from vca.settings import Settings
from vca.telephony.adapter import (
    InvalidCarrierRequest,
    InvalidCarrierSignature,
    TelephonyAdapter,
    TelephonyError,
    limit_size,
)
from vca.telephony.providers import ADAPTERS
from vca.telephony.types import (
    Account,
    Action,
    Caller,
    CallEvent,
    CallMetadata,
    CallReply,
    CallStatus,
    Capabilities,
    CarrierEvent,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    Forward,
    HangUp,
    LegOutcome,
    Listen,
    OutboundCall,
    Poll,
    Record,
    Recording,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
    Transfer,
)

Fault = Literal["refuses", "fails", "is silent"]
CallState = Literal["live", "over"]

ACME, GLOBEX = UUID(int=0xACE), UUID(int=0x61)
NUMBER, CALLER = "+14155550100", "+14155550123"
CALLBACK = "https://voice.example.com/vca/telephony/carrier/"
STATE = "WyJhIiwiYiJd.c2lnbmF0dXJl_-of=ours"
RECORDING = f"RE{17:032x}"
MAX_WAIT_S = 10
CALLERS_WITHOUT_NUMBER = {
    "anonymous": "withheld",
    "Anonymous": "withheld",
    "+266696687": "withheld",
    "unknown": "unavailable",
    "": "unavailable",
    "110": "other",
    "sip:reception@pbx.example.com": "other",
    "☎": "other",
}
ODD_TEXTS = (
    "<Hangup/> & \"quoted\" 'text' ]]> <!-- -->",
    '","actions":[],"x":"',
    "nul \x00, bell \x07, escape \x1b",
    "lone \ud83d surrogate",
    "line\nbreak\ttab\r\n",
    "مرحبا 🚑 中文",
    "%s {0} ${x} \\ \\u0000",
    "x" * 100_000,
    "&" * 100_000,
)
# Every operation at which a carrier can fail; `_run_operation` runs them.
OPERATIONS = (
    "register",
    "unregister",
    "check",
    "hang_up",
    "direct",
    "place_call",
    "find_call",
    "look_up",
    "recording",
    "delete_recording",
)
# Events that a carrier sends during a call, except status changes.
EVENT_KINDS: tuple[CarrierEventKind, ...] = (
    "answered",
    "speech",
    "keys",
    "interrupted",
    "more",
    "leg",
    "voicemail",
    "recording",
)
_call_numbers = count(1)
few_examples = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


@dataclass(frozen=True)
class RenderedReply:
    """A response as the carrier understands it: actions, returned state, and the next URLs."""

    actions: tuple[Action, ...]
    state: str | None
    next_urls: tuple[str, ...]


def new_call_id() -> str:
    """Return an unused call id of the carrier, in the format of the strictest carrier."""
    return f"CA{next(_call_numbers):032x}"


def outbound_call(**overrides: Any) -> OutboundCall:
    """Return acme's request to place an outbound call, with an unused reference."""
    fields = {
        "reference": uuid4().hex,
        "number": CALLER,
        "from_number": NUMBER,
        "callback_url": CALLBACK,
        "state": STATE,
    }
    return OutboundCall(**{**fields, **overrides})


def inbound_metadata(call_id: str) -> CallMetadata:
    """Return the metadata of a call that was routed to acme."""
    return CallMetadata(
        tenant_id=ACME,
        phone_number_id=uuid4(),
        caller_number=None,
        called_number=NUMBER,
        direction="inbound",
        timestamp=datetime(2026, 11, 22, 18, tzinfo=UTC),
        call_id=call_id,
    )


class TelephonyContract:
    """Subclass it and provide the fixtures and methods above the first test."""

    adapter_class: ClassVar[type[TelephonyAdapter]]
    signature_headers: ClassVar[tuple[str, ...]]
    """In lower case. A request without any one of them is not authentic."""
    statuses: ClassVar[Mapping[str, tuple[str, str | None]]]
    """Event type and end reason for each of the carrier's status values."""
    max_text_length: ClassVar[int]

    @pytest.fixture
    def adapter(self) -> TelephonyAdapter:
        """Return an adapter with an account, as the first process has it."""
        raise NotImplementedError

    @pytest.fixture
    def other_process_adapter(self) -> TelephonyAdapter:
        """Return an adapter of the same account, as another process has it."""
        raise NotImplementedError

    @pytest.fixture
    def other_account_adapter(self) -> TelephonyAdapter:
        """Return an adapter of another account with the same carrier."""
        raise NotImplementedError

    def deployment_settings(self) -> Settings:
        """Return the settings of a deployment that uses the carrier."""
        raise NotImplementedError

    def account_values(self, version: Literal["one", "changed"]) -> Mapping[str, str]:
        """Return the fields of a tenant's own account, or of the same account with new secrets."""
        raise NotImplementedError

    def ring_request(self, adapter: TelephonyAdapter, *, call_id: str, to: str, caller: str) -> Any:
        """Return the authentic request of an inbound call; `caller` is the network's caller ID."""
        raise NotImplementedError

    def speech_request(
        self, adapter: TelephonyAdapter, *, call_id: str, state: str, text: str
    ) -> Any:
        """Return the authentic request with an utterance of the caller."""
        raise NotImplementedError

    def event_request(
        self, adapter: TelephonyAdapter, kind: CarrierEventKind, *, call_id: str, **fields: Any
    ) -> Any:
        """Return an authentic request with an event of `EVENT_KINDS` and the token `STATE`.

        `fields` are `speech` (for an interruption: the text spoken before it), `keys`, `leg` and
        `recording_id`, as in CarrierEvent. Return None if the carrier never sends this event.
        """
        raise NotImplementedError

    def status_request(self, adapter: TelephonyAdapter, *, call_id: str, status: str) -> Any:
        """Return the authentic request of a status change; `status` is a key of `statuses`."""
        raise NotImplementedError

    def alter_request(self, request: CarrierRequest) -> CarrierRequest:
        """Return the request with another valid body and the original signature."""
        raise NotImplementedError

    def read_response(self, response: CarrierResponse) -> RenderedReply:
        """Read a response as the carrier does; fail if the carrier would not accept it."""
        raise NotImplementedError

    def registered_owner(self, adapter: TelephonyAdapter, number: str) -> UUID | None:
        """Return the tenant that the carrier's own record names as the number's owner."""
        raise NotImplementedError

    def set_call_state(
        self, adapter: TelephonyAdapter, call_id: str, call_state: Literal["live", "over"]
    ) -> None:
        """Create this call at the carrier, live or ended by the caller."""
        raise NotImplementedError

    def live_updates(self, adapter: TelephonyAdapter, call_id: str) -> list[RenderedReply | None]:
        """Return the updates that a live call got, in order; None stands for a hang-up."""
        raise NotImplementedError

    def dialled_numbers(self, adapter: TelephonyAdapter, reference: str) -> list[str]:
        """Return the numbers that the carrier has dialled for a reference."""
        raise NotImplementedError

    def add_recording(self, adapter: TelephonyAdapter, call_id: str, audio: bytes) -> None:
        """Store this WAV audio as the carrier's recording of a call."""
        raise NotImplementedError

    def inject_fault(self, adapter: TelephonyAdapter, fault: Fault) -> None:
        """Make the carrier refuse the next request, fail at it, or never respond."""
        raise NotImplementedError

    # The class

    def test_the_adapter_is_registered_under_its_name(self) -> None:
        module, _, name = ADAPTERS[self.adapter_class.name].partition(":")

        assert (self.adapter_class.__module__, self.adapter_class.__qualname__) == (module, name)

    def test_the_name_and_the_actions_are_valid_in_a_url(self) -> None:
        for name in (self.adapter_class.name, *self.adapter_class.actions):
            assert name.isascii()
            assert name.replace("_", "").isalnum()
            assert name == name.lower()

    def test_the_adapter_declares_its_capabilities(self) -> None:
        assert isinstance(self.adapter_class.capabilities, Capabilities)

    def test_all_actions_and_no_others_receive_requests(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()
        requests = [
            *self._sample_requests(adapter),
            *(
                self.status_request(adapter, call_id=call, status=status)
                for status in self.statuses
            ),
        ]

        assert {request.action for request in requests} == set(adapter.actions)

    def test_an_instance_stores_nothing_about_a_call(
        self, adapter: TelephonyAdapter, other_process_adapter: TelephonyAdapter
    ) -> None:
        call = new_call_id()
        ring = self.ring_request(adapter, call_id=call, to=NUMBER, caller=CALLER)
        adapter.parse(ring)
        adapter.on_inbound_call(inbound_metadata(call))
        speech = self.speech_request(adapter, call_id=call, state=STATE, text="Hello?")

        other_process_adapter.verify(speech)

        assert other_process_adapter.parse(speech) == adapter.parse(speech)
        reply = CallReply((Say("Yes."), Listen()), STATE)
        responses = [
            instance.render(reply, callback_url=CALLBACK)
            for instance in (adapter, other_process_adapter)
        ]
        assert responses[0] == responses[1]

    # from_account

    def test_the_fields_of_a_tenants_account_match_their_declaration(self) -> None:
        declared_fields = {field.name: field for field in self.adapter_class.account_fields}
        for version in ("one", "changed"):
            fields = self.account_values(version)

            assert {
                name for name, field in declared_fields.items() if field.required
            } <= fields.keys()
            assert all(
                declared_fields[name].pattern.fullmatch(text) for name, text in fields.items()
            )
        assert any(field.secret for field in declared_fields.values())

    def test_an_account_verifies_only_its_own_signatures(self, adapter: TelephonyAdapter) -> None:
        tenant_adapter = self._adapter_for(Account(self.account_values("one")))

        for request in self._sample_requests(tenant_adapter):
            tenant_adapter.verify(request)
            self._assert_rejected(adapter, request)
        for request in self._sample_requests(adapter):
            self._assert_rejected(tenant_adapter, request)

    def test_old_and_new_signatures_are_valid_while_an_account_is_changed(self) -> None:
        old_adapter = self._adapter_for(Account(self.account_values("one")))
        new_adapter = self._adapter_for(Account(self.account_values("changed")))
        changing_adapter = self._adapter_for(
            Account(self.account_values("changed"), previous=self.account_values("one"))
        )

        for old, new in zip(
            self._sample_requests(old_adapter), self._sample_requests(new_adapter), strict=True
        ):
            changing_adapter.verify(old)
            changing_adapter.verify(new)
            self._assert_rejected(new_adapter, old)
            self._assert_rejected(old_adapter, new)

    def test_the_fields_of_an_account_are_not_in_its_repr(self) -> None:
        account = Account(self.account_values("one"), previous=self.account_values("changed"))

        assert all(text not in repr(account) for text in account.fields.values())

    def test_an_adapter_without_an_account_parses_and_renders_but_verifies_nothing(
        self, adapter: TelephonyAdapter
    ) -> None:
        unconfigured = self._adapter_for(None)
        reply = CallReply((Say("Hello."), Listen()), STATE)

        for request in self._sample_requests(adapter):
            assert unconfigured.parse(request).kind == adapter.parse(request).kind
            self._assert_rejected(unconfigured, request)
        assert unconfigured.render(reply, callback_url=CALLBACK) == adapter.render(
            reply, callback_url=CALLBACK
        )

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_every_operation_without_an_account_fails_permanently(self, operation: str) -> None:
        with pytest.raises(TelephonyError) as error_info:
            self._run_operation(self._adapter_for(None), operation, new_call_id())

        assert error_info.value.permanent

    # register_number

    def test_registering_records_the_tenant_as_the_owner_of_the_number(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.register_number(ACME, uuid4(), NUMBER)

        assert self.registered_owner(adapter, NUMBER) == ACME

    def test_registering_is_idempotent(self, adapter: TelephonyAdapter) -> None:
        phone_number_id = uuid4()

        adapter.register_number(ACME, phone_number_id, NUMBER)
        adapter.register_number(ACME, phone_number_id, NUMBER)
        assert self.registered_owner(adapter, NUMBER) == ACME

        adapter.unregister_number(ACME, phone_number_id, NUMBER)
        assert self.registered_owner(adapter, NUMBER) is None

    def test_registering_does_not_change_a_number_of_another_tenant(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        with pytest.raises(TelephonyError) as error_info:
            adapter.register_number(ACME, uuid4(), NUMBER)

        assert error_info.value.permanent
        assert self.registered_owner(adapter, NUMBER) == GLOBEX

    def test_one_of_two_tenants_who_register_concurrently_gets_the_number(
        self, adapter: TelephonyAdapter
    ) -> None:
        def register(tenant_id: UUID) -> bool:
            try:
                adapter.register_number(tenant_id, uuid4(), NUMBER)
            except TelephonyError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(register, [ACME, GLOBEX] * 4))

        owner = self.registered_owner(adapter, NUMBER)
        assert results == [owner == ACME, owner == GLOBEX] * 4

    @pytest.mark.parametrize("fault", ["refuses", "fails", "is silent"])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_every_failure_is_a_timely_error_that_says_if_it_is_permanent(
        self, adapter: TelephonyAdapter, operation: str, fault: Fault
    ) -> None:
        self.inject_fault(adapter, fault)
        started_at = monotonic()

        with pytest.raises(TelephonyError) as error_info:
            self._run_operation(adapter, operation, new_call_id())

        assert error_info.value.permanent is (fault == "refuses")
        assert monotonic() - started_at < MAX_WAIT_S

    def test_registering_succeeds_after_a_failed_attempt(self, adapter: TelephonyAdapter) -> None:
        self.inject_fault(adapter, "fails")
        with pytest.raises(TelephonyError):
            adapter.register_number(ACME, uuid4(), NUMBER)

        adapter.register_number(ACME, uuid4(), NUMBER)

        assert self.registered_owner(adapter, NUMBER) == ACME

    # unregister_number

    def test_unregistering_removes_the_owner_of_that_number_only(
        self, adapter: TelephonyAdapter
    ) -> None:
        other = "+14155550199"
        adapter.register_number(ACME, uuid4(), NUMBER)
        adapter.register_number(ACME, uuid4(), other)

        adapter.unregister_number(ACME, uuid4(), NUMBER)

        assert self.registered_owner(adapter, NUMBER) is None
        assert self.registered_owner(adapter, other) == ACME

    def test_unregistering_an_unregistered_number_succeeds(self, adapter: TelephonyAdapter) -> None:
        adapter.unregister_number(ACME, uuid4(), NUMBER)

        assert self.registered_owner(adapter, NUMBER) is None

    def test_unregistering_a_number_of_another_tenant_changes_nothing(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        adapter.unregister_number(ACME, uuid4(), NUMBER)

        assert self.registered_owner(adapter, NUMBER) == GLOBEX

    def test_another_tenant_may_register_an_unregistered_number(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.register_number(ACME, uuid4(), NUMBER)
        adapter.unregister_number(ACME, uuid4(), NUMBER)

        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        assert self.registered_owner(adapter, NUMBER) == GLOBEX

    # check_number

    def test_the_settings_of_a_registered_number_are_as_expected(
        self, adapter: TelephonyAdapter
    ) -> None:
        phone_number_id = uuid4()
        adapter.register_number(ACME, phone_number_id, NUMBER)

        number_settings = adapter.check_number(ACME, phone_number_id, NUMBER)

        assert number_settings
        assert [field for field in number_settings if not field.agrees] == []
        assert len({field.name for field in number_settings}) == len(number_settings)

    def test_checking_reports_unexpected_settings_and_changes_nothing(
        self, adapter: TelephonyAdapter
    ) -> None:
        phone_number_id = uuid4()
        adapter.register_number(GLOBEX, uuid4(), NUMBER)

        for _ in range(2):
            number_settings = adapter.check_number(ACME, phone_number_id, NUMBER)

            assert any(not field.agrees for field in number_settings)
        assert self.registered_owner(adapter, NUMBER) == GLOBEX

    # parse

    def test_an_inbound_call_is_parsed(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()

        carrier_event = adapter.parse(
            self.ring_request(adapter, call_id=call, to=NUMBER, caller=CALLER)
        )

        assert (carrier_event.kind, carrier_event.provider_call_id) == ("call", call)
        assert (carrier_event.called_number, carrier_event.caller) == (
            NUMBER,
            Caller(CALLER, "shown"),
        )
        assert (carrier_event.state, carrier_event.event, carrier_event.simulated) == (
            None,
            None,
            False,
        )

    def test_speech_is_parsed_with_the_state_token(self, adapter: TelephonyAdapter) -> None:
        call, text = new_call_id(), "Ünïcode, “quotes” & <tags>?"

        carrier_event = adapter.parse(
            self.speech_request(adapter, call_id=call, state=STATE, text=text)
        )

        assert (carrier_event.kind, carrier_event.provider_call_id) == ("speech", call)
        assert (carrier_event.state, carrier_event.speech) == (STATE, text)
        assert carrier_event.event is None

    def test_the_answer_to_an_outbound_call_is_parsed(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()

        carrier_event = adapter.parse(self.event_request(adapter, "answered", call_id=call))

        assert (carrier_event.kind, carrier_event.provider_call_id, carrier_event.state) == (
            "answered",
            call,
            STATE,
        )

    def test_pressed_keys_are_parsed(self, adapter: TelephonyAdapter) -> None:
        request = self.event_request(adapter, "keys", call_id=new_call_id(), keys="0123456789*#")

        carrier_event = adapter.parse(request)

        assert (carrier_event.kind, carrier_event.state, carrier_event.keys) == (
            "keys",
            STATE,
            "0123456789*#",
        )

    def test_an_interruption_is_parsed_with_the_text_spoken_before_it(
        self, adapter: TelephonyAdapter
    ) -> None:
        request = self.event_request(
            adapter, "interrupted", call_id=new_call_id(), speech="We open at"
        )
        if request is None:
            return  # this carrier sends it with the caller's utterance, or never

        carrier_event = adapter.parse(request)

        assert (carrier_event.kind, carrier_event.state, carrier_event.speech) == (
            "interrupted",
            STATE,
            "We open at",
        )

    def test_a_request_for_the_remaining_response_is_parsed(
        self, adapter: TelephonyAdapter
    ) -> None:
        carrier_event = adapter.parse(self.event_request(adapter, "more", call_id=new_call_id()))

        assert (carrier_event.kind, carrier_event.state) == ("more", STATE)

    @pytest.mark.parametrize("leg", get_args(LegOutcome))
    def test_the_outcome_of_a_leg_is_parsed(
        self, adapter: TelephonyAdapter, leg: LegOutcome
    ) -> None:
        carrier_event = adapter.parse(
            self.event_request(adapter, "leg", call_id=new_call_id(), leg=leg)
        )

        assert (carrier_event.kind, carrier_event.state, carrier_event.leg) == ("leg", STATE, leg)

    @pytest.mark.parametrize("kind", ["voicemail", "recording"])
    def test_the_notification_of_a_recording_is_parsed(
        self, adapter: TelephonyAdapter, kind: CarrierEventKind
    ) -> None:
        request = self.event_request(adapter, kind, call_id=new_call_id(), recording_id=RECORDING)

        carrier_event = adapter.parse(request)

        assert (carrier_event.kind, carrier_event.state, carrier_event.recording_id) == (
            kind,
            STATE,
            RECORDING,
        )

    def test_every_status_is_parsed_as_its_event(self, adapter: TelephonyAdapter) -> None:
        for status, (event_type, end_reason) in self.statuses.items():
            call = new_call_id()

            carrier_event = adapter.parse(self.status_request(adapter, call_id=call, status=status))

            assert (carrier_event.kind, carrier_event.provider_call_id) == ("status", call)
            event = self._require_event(carrier_event)
            assert (event.event_type, event.end_reason) == (event_type, end_reason)
            assert event.call_id == call
            assert event.timestamp.tzinfo is not None

    def test_only_ended_and_failed_statuses_have_a_reason(self) -> None:
        for event_type, end_reason in self.statuses.values():
            assert (end_reason is not None) == (event_type in ("ENDED", "FAILED"))

    def test_a_repeated_status_has_the_same_key_and_another_status_has_not(
        self, adapter: TelephonyAdapter
    ) -> None:
        call = new_call_id()
        repeated_statuses = [*self.statuses, *self.statuses]

        keys = [
            self._require_event(
                adapter.parse(self.status_request(adapter, call_id=call, status=status))
            ).key
            for status in repeated_statuses
        ]

        assert keys[: len(self.statuses)] == keys[len(self.statuses) :]
        assert len(set(keys)) == len(self.statuses)

    @pytest.mark.parametrize(("raw", "caller_id"), CALLERS_WITHOUT_NUMBER.items())
    def test_a_caller_without_a_number_is_parsed_and_not_rejected(
        self, adapter: TelephonyAdapter, raw: str, caller_id: str
    ) -> None:
        request = self.ring_request(adapter, call_id=new_call_id(), to=NUMBER, caller=raw)

        assert adapter.parse(request).caller == Caller(None, caller_id)  # type: ignore[arg-type]

    @few_examples
    @example(b"")
    @example(b"\x00")
    @example(b"{}")
    @example(b"[]")
    @example(b'{"call_id": 7}')
    @example(b"CallSid=a&CallSid=b&From=%00&To=%ff")
    @example(b"[" * 100_000)
    @given(body=st.binary(max_size=200))
    def test_arbitrary_bytes_are_parsed_or_rejected_as_invalid(
        self, adapter: TelephonyAdapter, body: bytes
    ) -> None:
        authentic_request = self.ring_request(
            adapter, call_id=new_call_id(), to=NUMBER, caller=CALLER
        )
        for action in adapter.actions:
            self._parse_or_reject(adapter, replace(authentic_request, action=action, body=body))

    @few_examples
    @given(offset=st.integers(0, 10_000), change=st.binary(min_size=1, max_size=4))
    def test_a_corrupted_request_is_parsed_or_rejected_as_invalid(
        self, adapter: TelephonyAdapter, offset: int, change: bytes
    ) -> None:
        for authentic_request in self._sample_requests(adapter):
            position = offset % (len(authentic_request.body) + 1)
            body = (
                authentic_request.body[:position]
                + change
                + authentic_request.body[position + len(change) :]
            )
            self._parse_or_reject(adapter, replace(authentic_request, body=body))

    def test_parsing_verifying_and_rendering_open_no_connection(
        self, adapter: TelephonyAdapter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def connect(*_: Any) -> None:
            raise AssertionError("a connection was opened")

        call = new_call_id()
        ring = self.ring_request(adapter, call_id=call, to=NUMBER, caller=CALLER)
        monkeypatch.setattr(socket.socket, "connect", connect)
        monkeypatch.setattr(socket, "getaddrinfo", connect)

        adapter.parse(ring)
        adapter.verify(ring)
        adapter.on_inbound_call(inbound_metadata(call))
        adapter.render(CallReply((Say("Hello."), Listen()), STATE), callback_url=CALLBACK)

    # verify

    def test_an_authentic_request_is_accepted(self, adapter: TelephonyAdapter) -> None:
        for request in self._sample_requests(adapter):
            adapter.verify(request)
            adapter.verify(request)

    def test_a_request_without_a_signature_is_rejected(self, adapter: TelephonyAdapter) -> None:
        for request in self._sample_requests(adapter):
            for missing in self.signature_headers:
                headers = {name: text for name, text in request.headers.items() if name != missing}
                self._assert_rejected(adapter, replace(request, headers=headers))

    @pytest.mark.parametrize(
        "garbage", ["", " ", "0", "é", "\xff\x00", "=", "====", "x" * 10_000, "0" * 64, "[]", "-1"]
    )
    def test_an_unreadable_signature_is_rejected(
        self, adapter: TelephonyAdapter, garbage: str
    ) -> None:
        for request in self._sample_requests(adapter):
            for broken in self.signature_headers:
                headers = {**request.headers, broken: garbage}
                self._assert_rejected(adapter, replace(request, headers=headers))

    def test_another_body_with_an_authentic_signature_is_rejected(
        self, adapter: TelephonyAdapter
    ) -> None:
        for request in self._sample_requests(adapter):
            other = self.alter_request(request)
            assert other.body != request.body
            assert other.headers == request.headers

            self._assert_rejected(adapter, other)
            self._assert_rejected(adapter, replace(request, body=request.body + b" "))
            self._assert_rejected(adapter, replace(request, body=b""))

    def test_a_request_of_another_account_is_rejected(
        self, adapter: TelephonyAdapter, other_account_adapter: TelephonyAdapter
    ) -> None:
        for request in self._sample_requests(other_account_adapter):
            other_account_adapter.verify(request)
            self._assert_rejected(adapter, request)

    # on_inbound_call

    def test_a_new_inbound_call_is_ringing_or_initiated(self, adapter: TelephonyAdapter) -> None:
        metadata = inbound_metadata(new_call_id())

        event = adapter.on_inbound_call(metadata)

        assert event.event_type in ("INITIATED", "RINGING")
        assert (event.call_id, event.timestamp) == (metadata.call_id, metadata.timestamp)
        assert (event.end_reason, event.end_detail) == (None, None)

    def test_the_first_event_of_a_call_always_has_the_same_key(
        self, adapter: TelephonyAdapter, other_process_adapter: TelephonyAdapter
    ) -> None:
        call, other = new_call_id(), new_call_id()

        keys = {
            instance.on_inbound_call(inbound_metadata(call)).key
            for instance in (adapter, adapter, other_process_adapter)
        }

        assert len(keys) == 1
        assert adapter.on_inbound_call(inbound_metadata(other)).key not in keys

    # render

    @pytest.mark.parametrize(
        "actions",
        [
            (),
            (Say("Hello."), Listen(7)),
            (Say("One."), Say("Two."), HangUp()),
            (Say("I connect you."), Forward(CALLER)),
            (Forward(CALLER),),
            (Reject(),),
            (Reject("busy"),),
            (HangUp(),),
            (Say("Grüß Gott.", "de-AT", "a-voice"), Listen(3, "de-AT")),
            (Say("I connect you."), Transfer(CALLER, 17)),
            (Say("This call is recorded."), Record(), Say("Hello."), Listen()),
            (Say("Leave a message."), TakeVoicemail(45)),
            (SendKeys("12#"), Listen()),
            (Say("One moment."), Poll()),
            (Poll(),),
        ],
    )
    def test_the_carrier_executes_the_actions_of_a_reply_in_order(
        self, adapter: TelephonyAdapter, actions: tuple[Action, ...]
    ) -> None:
        response = adapter.render(CallReply(actions), callback_url=CALLBACK)

        assert response.status == 200
        assert [comparable(action) for action in self.read_response(response).actions] == [
            comparable(action) for action in actions
        ]

    @pytest.mark.parametrize("last", [Listen(), Transfer(CALLER), TakeVoicemail(), Poll()])
    def test_the_state_token_is_returned_with_the_next_request(
        self, adapter: TelephonyAdapter, last: Action
    ) -> None:
        reply = CallReply((Say("Hello."), last), STATE)

        assert self.read_response(adapter.render(reply, callback_url=CALLBACK)).state == STATE

    def test_the_next_request_is_sent_to_the_callback_url(self, adapter: TelephonyAdapter) -> None:
        reply = CallReply((Say("Hello."), Listen()), STATE)

        urls = self.read_response(adapter.render(reply, callback_url=CALLBACK)).next_urls

        assert urls
        for url in urls:
            assert url.startswith(CALLBACK)
            assert url.removeprefix(CALLBACK).partition("?")[0] in {"", *adapter.actions}

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
    def test_every_text_is_rendered_valid_escaped_and_within_the_maximum(
        self, adapter: TelephonyAdapter, text: str
    ) -> None:
        self._assert_says(adapter, text)

    @few_examples
    @given(text=st.text(st.characters(codec=None), max_size=200))
    def test_an_arbitrary_text_is_spoken_without_further_actions(
        self, adapter: TelephonyAdapter, text: str
    ) -> None:
        self._assert_says(adapter, text)

    # voice WebSockets: render, parse and verify_websocket

    def test_an_adapter_with_voice_websockets_declares_their_format(self) -> None:
        assert self.adapter_class.capabilities.relay is (
            self.adapter_class.websocket_format is not None
        )

    @pytest.mark.parametrize("greeting", ["Grüß Gott & <willkommen>", ""])
    @pytest.mark.parametrize("preceding_actions", [(), (Say("This call is recorded."), Record())])
    def test_a_caller_is_connected_to_the_voice_websocket(
        self, adapter: TelephonyAdapter, preceding_actions: tuple[Action, ...], greeting: str
    ) -> None:
        if not adapter.capabilities.relay:
            return
        relay = Relay("wss://voice.example.com/relay", "WyJ.a-token_", greeting, "de-DE")

        response = adapter.render(
            CallReply((*preceding_actions, relay), STATE), callback_url=CALLBACK
        )

        rendered = self.read_response(response)
        *rendered_actions, last = rendered.actions
        assert [comparable(action) for action in rendered_actions] == [
            comparable(action) for action in preceding_actions
        ]
        assert isinstance(last, Relay)
        assert replace(last, voice=None) == relay
        assert rendered.state == STATE

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
    def test_every_greeting_is_rendered_valid_and_within_the_maximum(
        self, adapter: TelephonyAdapter, text: str
    ) -> None:
        if adapter.capabilities.relay:
            relay = Relay("wss://voice.example.com/relay", "token", text)

            response = adapter.render(CallReply((relay,), STATE), callback_url=CALLBACK)

            [action] = self.read_response(response).actions
            assert isinstance(action, Relay)
            assert len(action.greeting) <= self.max_text_length

    def test_the_end_of_a_voice_websocket_is_parsed(self, adapter: TelephonyAdapter) -> None:
        if adapter.capabilities.relay:
            carrier_event = adapter.parse(
                self.event_request(adapter, "relayed", call_id=new_call_id())
            )

            assert (carrier_event.kind, carrier_event.state) == ("relayed", STATE)
            assert carrier_event.handoff

    def test_a_broken_voice_websocket_has_no_handoff(self, adapter: TelephonyAdapter) -> None:
        if adapter.capabilities.relay:
            request = self.event_request(adapter, "relayed", call_id=new_call_id(), request=True)

            assert (adapter.parse(request).kind, adapter.parse(request).handoff) == ("relayed", "")

    def test_a_carrier_without_voice_websockets_verifies_none(
        self, adapter: TelephonyAdapter
    ) -> None:
        if not adapter.capabilities.relay:
            with pytest.raises(InvalidCarrierSignature):
                adapter.verify_websocket(
                    CarrierRequest("relay", "wss://voice.example.com", {}, b"")
                )

    # hang_up

    def test_hanging_up_ends_only_that_call_at_the_carrier(self, adapter: TelephonyAdapter) -> None:
        call, other = new_call_id(), new_call_id()

        for call_id in (call, other):
            self.set_call_state(adapter, call_id, "live")

        adapter.hang_up(call)

        assert self.live_updates(adapter, call) == [None]
        assert self.live_updates(adapter, other) == []

    def test_hanging_up_an_ended_call_succeeds(self, adapter: TelephonyAdapter) -> None:
        call, ended_call = new_call_id(), new_call_id()
        self.set_call_state(adapter, call, "live")
        self.set_call_state(adapter, ended_call, "over")

        adapter.hang_up(call)
        adapter.hang_up(call)
        adapter.hang_up(ended_call)

    # update_live_call

    @pytest.mark.parametrize(
        "actions",
        [
            (Say("Your table is ready."), Listen(7)),
            (Say("I connect you."), Transfer(CALLER, 17)),
            (Transfer(CALLER),),
            (Say("Goodbye."), HangUp()),
        ],
    )
    def test_an_update_changes_only_the_live_call_that_it_is_for(
        self, adapter: TelephonyAdapter, actions: tuple[Action, ...]
    ) -> None:
        call, other = new_call_id(), new_call_id()
        for name in (call, other):
            self.set_call_state(adapter, name, "live")

        adapter.update_live_call(call, CallReply(actions, STATE), callback_url=CALLBACK)

        [update] = self.live_updates(adapter, call)
        assert update is not None
        assert list(map(comparable, update.actions)) == list(map(comparable, actions))
        assert self.live_updates(adapter, other) == []

    def test_an_updated_call_sends_its_next_request_with_the_new_token(
        self, adapter: TelephonyAdapter
    ) -> None:
        call = new_call_id()
        self.set_call_state(adapter, call, "live")

        adapter.update_live_call(call, CallReply((Transfer(CALLER),), STATE), callback_url=CALLBACK)

        [update] = self.live_updates(adapter, call)
        assert update is not None
        assert update.state == STATE
        assert update.next_urls
        assert all(url.startswith(CALLBACK) for url in update.next_urls)

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
    def test_every_text_of_an_update_is_spoken_without_further_actions(
        self, adapter: TelephonyAdapter, text: str
    ) -> None:
        call = new_call_id()
        self.set_call_state(adapter, call, "live")

        adapter.update_live_call(
            call, CallReply((Say(text), Listen()), STATE), callback_url=CALLBACK
        )

        [update] = self.live_updates(adapter, call)
        self._assert_only_spoken(update, text)

    def test_updating_an_ended_call_fails_permanently(self, adapter: TelephonyAdapter) -> None:
        ended_call, hung_up = new_call_id(), new_call_id()
        self.set_call_state(adapter, ended_call, "over")
        self.set_call_state(adapter, hung_up, "live")
        adapter.hang_up(hung_up)

        for call in (ended_call, hung_up):
            with pytest.raises(TelephonyError) as error_info:
                adapter.update_live_call(
                    call, CallReply((Transfer(CALLER),), STATE), callback_url=CALLBACK
                )

            assert error_info.value.permanent

    # place_call

    def test_a_placed_call_is_dialled_once_and_has_an_id(self, adapter: TelephonyAdapter) -> None:
        outbound_request, other_request = outbound_call(), outbound_call(number="+14155550188")

        ids = {adapter.place_call(outbound_request), adapter.place_call(other_request)}

        assert len(ids) == 2
        assert all(ids)
        assert self.dialled_numbers(adapter, outbound_request.reference) == [CALLER]
        assert self.dialled_numbers(adapter, other_request.reference) == ["+14155550188"]

    def test_a_rejected_call_was_not_dialled_and_is_not_ambiguous(
        self, adapter: TelephonyAdapter
    ) -> None:
        self.inject_fault(adapter, "refuses")
        outbound_request = outbound_call()

        with pytest.raises(TelephonyError) as error_info:
            adapter.place_call(outbound_request)

        assert not error_info.value.ambiguous
        assert self.dialled_numbers(adapter, outbound_request.reference) == []

    def test_a_timeout_while_placing_a_call_is_ambiguous(self, adapter: TelephonyAdapter) -> None:
        self.inject_fault(adapter, "is silent")

        with pytest.raises(TelephonyError) as error_info:
            adapter.place_call(outbound_call())

        assert error_info.value.ambiguous

    # find_call

    def test_find_call_returns_a_placed_call_by_its_reference(
        self, adapter: TelephonyAdapter
    ) -> None:
        outbound_request = outbound_call()

        call = adapter.place_call(outbound_request)

        assert adapter.find_call(outbound_request) == call
        assert adapter.find_call(replace(outbound_request, state="another")) == call

    def test_find_call_returns_a_placed_call_that_has_ended(
        self, adapter: TelephonyAdapter
    ) -> None:
        outbound_request = outbound_call()
        call = adapter.place_call(outbound_request)

        self.set_call_state(adapter, call, "over")

        assert adapter.find_call(outbound_request) == call

    def test_find_call_returns_none_for_a_call_that_was_not_placed(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.place_call(outbound_call())
        unplaced_request = outbound_call(begun_at=datetime.now(UTC) + timedelta(minutes=1))

        assert adapter.find_call(unplaced_request) is None

    # find_call_status

    def test_the_status_of_a_live_call_has_no_event(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()
        self.set_call_state(adapter, call, "live")

        assert adapter.find_call_status(call) == CallStatus(call)

    def test_a_placed_call_has_the_status_of_a_live_call(self, adapter: TelephonyAdapter) -> None:
        call = adapter.place_call(outbound_call())

        assert adapter.find_call_status(call) == CallStatus(call)

    def test_the_status_of_an_ended_call_has_an_end_event_with_a_stable_key(
        self, adapter: TelephonyAdapter
    ) -> None:
        call, other = new_call_id(), new_call_id()
        for name in (call, other):
            self.set_call_state(adapter, name, "over")

        call_statuses = [adapter.find_call_status(name) for name in (call, call, other)]

        keys = []
        for call_status in call_statuses:
            assert call_status is not None
            assert call_status.event is not None
            assert call_status.event.event_type in ("ENDED", "FAILED")
            assert call_status.event.end_reason is not None
            assert call_status.event.timestamp.tzinfo is not None
            keys.append(call_status.event.key)
        assert keys[0] == keys[1] != keys[2]

    def test_the_status_of_an_unknown_call_is_none(self, adapter: TelephonyAdapter) -> None:
        assert adapter.find_call_status(new_call_id()) is None

    # fetch_recording, delete_recording

    def test_fetch_recording_returns_none_for_a_call_without_a_recording(
        self, adapter: TelephonyAdapter
    ) -> None:
        assert adapter.fetch_recording(new_call_id()) is None

    def test_a_recording_is_returned_completely_in_chunks(self, adapter: TelephonyAdapter) -> None:
        call, audio = new_call_id(), bytes(range(256)) * 12_000
        self.add_recording(adapter, call, audio)

        recording = adapter.fetch_recording(call)

        assert isinstance(recording, Recording)
        assert recording.content_type == "audio/wav"
        chunks = list(recording.chunks)
        assert b"".join(chunks) == audio
        assert max(map(len, chunks)) <= 1024 * 1024

    def test_a_recording_can_be_fetched_repeatedly(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()
        self.add_recording(adapter, call, b"RIFF of a call")
        first = adapter.fetch_recording(call)
        assert first is not None
        next(first.chunks)
        first.chunks.close()

        second_recording = adapter.fetch_recording(call)

        assert second_recording is not None
        assert b"".join(second_recording.chunks) == b"RIFF of a call"

    def test_delete_recording_deletes_only_the_recording_of_the_call(
        self, adapter: TelephonyAdapter
    ) -> None:
        call, other = new_call_id(), new_call_id()
        self.add_recording(adapter, call, b"one")
        self.add_recording(adapter, other, b"another")

        adapter.delete_recording(call)

        assert adapter.fetch_recording(call) is None
        assert adapter.fetch_recording(other) is not None

    def test_deleting_a_missing_recording_succeeds(self, adapter: TelephonyAdapter) -> None:
        call = new_call_id()
        self.add_recording(adapter, call, b"one")

        adapter.delete_recording(call)
        adapter.delete_recording(call)
        adapter.delete_recording(new_call_id())

    def test_a_recording_above_the_maximum_size_fails(self) -> None:
        chunks: list[bytes] = []
        closings: list[bool] = []

        def generate_chunks() -> Iterator[bytes]:
            try:
                while True:
                    yield b"12345"
            finally:
                closings.append(True)

        with pytest.raises(TelephonyError) as error_info:
            chunks.extend(limit_size(generate_chunks(), max_bytes=12))

        assert error_info.value.permanent
        assert (error_info.value.code, closings) == ("too-large", [True])
        assert list(limit_size([b"12345", b"6789"], max_bytes=9)) == [b"12345", b"6789"]

    # Helpers

    def _sample_requests(self, adapter: TelephonyAdapter) -> list[CarrierRequest]:
        call = new_call_id()
        fields = {"speech": "Hello?", "keys": "1", "leg": "busy", "recording_id": RECORDING}
        event_requests = (
            self.event_request(adapter, kind, call_id=call, **fields) for kind in EVENT_KINDS
        )
        return [
            self.ring_request(adapter, call_id=call, to=NUMBER, caller=CALLER),
            *(request for request in event_requests if request is not None),
            self.status_request(adapter, call_id=call, status=next(iter(self.statuses))),
        ]

    def _run_operation(self, adapter: TelephonyAdapter, operation: str, call: str) -> None:
        match operation:
            case "register":
                adapter.register_number(ACME, uuid4(), NUMBER)
            case "unregister":
                adapter.unregister_number(ACME, uuid4(), NUMBER)
            case "check":
                adapter.check_number(ACME, uuid4(), NUMBER)
            case "hang_up":
                adapter.hang_up(call)
            case "direct":
                adapter.update_live_call(
                    call, CallReply((Transfer(CALLER),), STATE), callback_url=CALLBACK
                )
            case "place_call":
                adapter.place_call(outbound_call())
            case "find_call":
                adapter.find_call(outbound_call())
            case "look_up":
                adapter.find_call_status(call)
            case "recording":
                adapter.fetch_recording(call)
            case "delete_recording":
                adapter.delete_recording(call)

    def _adapter_for(self, account: Account | None) -> TelephonyAdapter:
        return self.adapter_class.from_account(self.deployment_settings(), account)

    def _require_event(self, carrier_event: CarrierEvent) -> CallEvent:
        assert carrier_event.event is not None
        return carrier_event.event

    def _assert_rejected(self, adapter: TelephonyAdapter, request: CarrierRequest) -> None:
        with pytest.raises(InvalidCarrierSignature):
            adapter.verify(request)

    def _parse_or_reject(self, adapter: TelephonyAdapter, request: CarrierRequest) -> None:
        """Parse a request. Fail unless the result is storable or the request is invalid."""
        try:
            carrier_event = adapter.parse(request)
        except InvalidCarrierRequest:
            return
        text_fields = (
            carrier_event.speech,
            carrier_event.keys,
            carrier_event.state or "",
            carrier_event.recording_id or "",
        )
        all_texts = (carrier_event.provider_call_id, carrier_event.called_number, *text_fields)
        assert all(is_storable(text) for text in all_texts)
        assert carrier_event.provider_call_id
        assert carrier_event.caller.number is None or is_e164(carrier_event.caller.number)
        assert (carrier_event.event is not None) == (carrier_event.kind == "status")
        assert (carrier_event.leg is not None) == (carrier_event.kind == "leg")
        assert set(carrier_event.keys) <= set("0123456789*#")

    def _assert_says(self, adapter: TelephonyAdapter, text: str) -> None:
        reply = CallReply((Say(text), Listen()), STATE)

        self._assert_only_spoken(
            self.read_response(adapter.render(reply, callback_url=CALLBACK)), text
        )

    def _assert_only_spoken(self, rendered: RenderedReply | None, text: str) -> None:
        assert rendered is not None
        first_action, last_action = rendered.actions
        assert isinstance(first_action, Say)
        assert first_action.text == sanitize(text, max_length=self.max_text_length)
        assert isinstance(last_action, Listen)
        assert rendered.state == STATE


def comparable(action: Action) -> tuple[object, ...]:
    """Return the part of an action that a caller notices: no voices, no reasons."""
    match action:
        case Say():
            return Say, action.text
        case Listen():
            return Listen, action.silence_s
        case Forward():
            return Forward, action.number
        case Transfer():
            return Transfer, action.number, action.timeout_s
        case TakeVoicemail():
            return TakeVoicemail, action.longest_s
        case SendKeys():
            return SendKeys, action.keys
    return (type(action),)
