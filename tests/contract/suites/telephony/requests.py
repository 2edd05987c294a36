"""The contract tests of the carrier's requests."""

import socket
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.contract.suites.telephony.base import ContractBase
from tests.contract.suites.telephony.values import (
    CALLBACK,
    CALLER,
    CALLERS_WITHOUT_NUMBER,
    NUMBER,
    RECORDING,
    STATE,
    URIS_OF_NUMBER,
    few_examples,
    inbound_metadata,
    new_call_id,
)
from vca.kit.json import is_storable
from vca.kit.phone import is_e164
from vca.telephony.adapter import (
    InvalidCarrierRequest,
    TelephonyAdapter,
)
from vca.telephony.types import (
    Caller,
    CallReply,
    CarrierEventKind,
    CarrierRequest,
    LegOutcome,
    Listen,
    Say,
)


class RequestTests(ContractBase):
    """Tests of `parse`, `verify` and `on_inbound_call`."""

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
            pytest.skip("the carrier sends an interruption with the caller's utterance, or never")

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

    @pytest.mark.parametrize("uri", URIS_OF_NUMBER)
    def test_a_number_in_a_uri_is_read(self, adapter: TelephonyAdapter, uri: str) -> None:
        request = self.ring_request(adapter, call_id=new_call_id(), to=uri, caller=uri)

        carrier_event = adapter.parse(request)

        assert carrier_event.called_number == NUMBER
        assert carrier_event.caller == Caller(NUMBER, "shown")

    def test_fields_that_are_not_read_cannot_fail_a_request(
        self, adapter: TelephonyAdapter
    ) -> None:
        for request in self._sample_requests(adapter):
            expected_event = adapter.parse(request)
            variants = self.add_unread_fields(adapter, request)
            assert variants
            for variant in variants:
                assert variant.body != request.body

                adapter.verify(variant)
                carrier_event = adapter.parse(variant)

                assert replace(carrier_event, event=None) == replace(expected_event, event=None)
                if expected_event.event is not None:
                    assert self._require_event(carrier_event).key == expected_event.event.key

    def test_a_field_that_is_not_read_is_signed(self, adapter: TelephonyAdapter) -> None:
        request = self.ring_request(adapter, call_id=new_call_id(), to=NUMBER, caller=CALLER)

        for variant in self.add_unread_fields(adapter, request):
            self._assert_rejected(adapter, replace(variant, body=request.body))

    @pytest.mark.parametrize("caller", ["\x00", "x" * 300, "sip:" + "y" * 300 + "@example.com"])
    def test_an_unreadable_caller_is_no_reason_to_reject_a_call(
        self, adapter: TelephonyAdapter, caller: str
    ) -> None:
        request = self.ring_request(adapter, call_id=new_call_id(), to=NUMBER, caller=caller)

        assert adapter.parse(request).caller == Caller(None, "other")

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
