"""The contract tests of operations on calls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.suites.telephony.base import ContractBase
from tests.contract.suites.telephony.values import (
    CALLBACK,
    CALLER,
    NUMBER,
    ODD_TEXTS,
    STATE,
    comparable,
    new_call_id,
    outbound_call,
)
from tests.support import permits
from vca.telephony.adapter import (
    TelephonyAdapter,
    TelephonyError,
)
from vca.telephony.types import (
    Action,
    CallReply,
    CallStatus,
    HangUp,
    Listen,
    Say,
)


class CallTests(ContractBase):
    """Tests of `hang_up`, `update_live_call`, `place_call`, `find_call` and `find_call_status`."""

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
            (Say("I connect you."), permits.transfer(CALLER, 17)),
            (permits.transfer(CALLER),),
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

        adapter.update_live_call(
            call, CallReply((permits.transfer(CALLER),), STATE), callback_url=CALLBACK
        )

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
                    call, CallReply((permits.transfer(CALLER),), STATE), callback_url=CALLBACK
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

        assert adapter.find_call(permits.query_for(outbound_request)) == call

    def test_find_call_returns_a_placed_call_that_has_ended(
        self, adapter: TelephonyAdapter
    ) -> None:
        outbound_request = outbound_call()
        call = adapter.place_call(outbound_request)

        self.set_call_state(adapter, call, "over")

        assert adapter.find_call(permits.query_for(outbound_request)) == call

    def test_find_call_returns_none_for_a_call_that_was_not_placed(
        self, adapter: TelephonyAdapter
    ) -> None:
        adapter.place_call(outbound_call())
        later = datetime.now(UTC) + timedelta(minutes=1)
        unplaced_query = replace(permits.query_for(outbound_call()), begun_at=later)

        assert adapter.find_call(unplaced_query) is None

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

    # create_webrtc_credential

    def test_a_browser_credential_is_bound_to_its_number_at_the_carrier(self) -> None:
        adapter = self.browser_adapter()
        if adapter is None:
            pytest.skip("no browser can use this carrier")
        assert adapter.supports_webrtc

        for number in (NUMBER, "+14155550188"):
            credential = adapter.create_webrtc_credential(number, identity="jane", ttl_s=60)
            assert self.bound_number(credential) == number

    def test_an_adapter_without_browser_support_creates_no_credential(
        self, adapter: TelephonyAdapter
    ) -> None:
        if adapter.supports_webrtc:
            pytest.skip("browsers can use this account")

        with pytest.raises(TelephonyError) as error_info:
            adapter.create_webrtc_credential(NUMBER, identity="jane", ttl_s=60)

        assert error_info.value.permanent
