"""The contract tests of numbers."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from tests.contract.suites.telephony.base import ContractBase
from tests.contract.suites.telephony.values import (
    ACME,
    GLOBEX,
    NUMBER,
)
from vca.telephony.adapter import (
    TelephonyAdapter,
    TelephonyError,
)


class NumberTests(ContractBase):
    """Tests of `register_number`, `unregister_number` and `check_number`."""

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
