"""The contract tests of the adapter class, of accounts and of failures."""

from time import monotonic
from uuid import uuid4

import pytest

from tests.contract.suites.telephony.base import ContractBase
from tests.contract.suites.telephony.values import (
    ACME,
    CALLBACK,
    CALLER,
    MAX_WAIT_S,
    NUMBER,
    OPERATIONS,
    STATE,
    Fault,
    inbound_metadata,
    new_call_id,
    outbound_call,
)
from tests.support import permits
from vca.telephony.adapter import (
    TelephonyAdapter,
    TelephonyError,
)
from vca.telephony.providers import ADAPTERS
from vca.telephony.types import (
    Account,
    CallReply,
    Capabilities,
    Listen,
    Say,
)


class AccountTests(ContractBase):
    """Tests of the adapter class, `from_account` and failed operations."""

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

    # failures

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
                    call, CallReply((permits.transfer(CALLER),), STATE), callback_url=CALLBACK
                )
            case "place_call":
                adapter.place_call(outbound_call())
            case "find_call":
                adapter.find_call(permits.query_for(outbound_call()))
            case "look_up":
                adapter.find_call_status(call)
            case "recording":
                adapter.fetch_recording(call)
            case "delete_recording":
                adapter.delete_recording(call)
