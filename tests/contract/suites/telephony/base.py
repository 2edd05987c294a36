"""The fixtures and methods that a subclass of the contract provides, and helpers of the tests."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest

from tests.contract.suites.telephony.values import (
    CALLBACK,
    CALLER,
    EVENT_KINDS,
    NUMBER,
    RECORDING,
    STATE,
    Fault,
    RenderedReply,
    new_call_id,
)
from vca.kit.text import sanitize
from vca.settings import Settings
from vca.telephony.adapter import (
    InvalidCarrierSignature,
    TelephonyAdapter,
)
from vca.telephony.types import (
    Account,
    CallEvent,
    CallReply,
    CarrierEvent,
    CarrierEventKind,
    CarrierRequest,
    CarrierResponse,
    Listen,
    Say,
    WebRtcCredential,
)


class ContractBase:
    """What a subclass of the contract provides, and helpers of the tests."""

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

    def browser_adapter(self) -> TelephonyAdapter | None:
        """Return an adapter of an account that browsers can use, or None if no account can."""
        raise NotImplementedError

    def bound_number(self, credential: WebRtcCredential) -> str:
        """Return the number to which the carrier itself binds a browser's credential."""
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

    def spoken_values(self, response: CarrierResponse) -> tuple[set[str], set[str]]:
        """Return the languages and the names of voices in a rendered reply.

        Only for a carrier whose `capabilities.languages` is a table.
        """
        raise NotImplementedError

    def known_languages(self) -> Collection[str]:
        """Return all values that the carrier knows for languages."""
        raise NotImplementedError

    def alter_request(self, request: CarrierRequest) -> CarrierRequest:
        """Return the request with another valid body and the original signature."""
        raise NotImplementedError

    def add_unread_fields(
        self, adapter: TelephonyAdapter, request: CarrierRequest
    ) -> list[CarrierRequest]:
        """Return the authentic request with fields of any content that the adapter never reads."""
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

    def _adapter_for(self, account: Account | None) -> TelephonyAdapter:
        return self.adapter_class.from_account(self.deployment_settings(), account)

    def _require_event(self, carrier_event: CarrierEvent) -> CallEvent:
        assert carrier_event.event is not None
        return carrier_event.event

    def _assert_rejected(self, adapter: TelephonyAdapter, request: CarrierRequest) -> None:
        with pytest.raises(InvalidCarrierSignature):
            adapter.verify(request)

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
