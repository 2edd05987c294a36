"""The contract tests of responses to the carrier, and of voice WebSockets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.suites.telephony.base import ContractBase
from tests.contract.suites.telephony.values import (
    CALLBACK,
    CALLER,
    ODD_TEXTS,
    STATE,
    comparable,
    few_examples,
    new_call_id,
)
from tests.support import permits
from vca.telephony.adapter import (
    InvalidCarrierSignature,
    TelephonyAdapter,
)
from vca.telephony.types import (
    Action,
    CallReply,
    CarrierRequest,
    HangUp,
    Listen,
    Poll,
    Record,
    Reject,
    Relay,
    Say,
    SendKeys,
    TakeVoicemail,
)


class ResponseTests(ContractBase):
    """Tests of `render`, and of `parse` and `verify_websocket` for voice WebSockets."""

    # render

    @pytest.mark.parametrize(
        "actions",
        [
            (),
            (Say("Hello."), Listen(7)),
            (Say("One."), Say("Two."), HangUp()),
            (Say("I connect you."), permits.forward(CALLER)),
            (permits.forward(CALLER),),
            (Reject(),),
            (Reject("busy"),),
            (HangUp(),),
            (Say("Grüß Gott.", "de-AT", "a-voice"), Listen(3, "de-AT")),
            (Say("I connect you."), permits.transfer(CALLER, 17)),
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

    @pytest.mark.parametrize("last", [Listen(), permits.transfer(CALLER), TakeVoicemail(), Poll()])
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
        self._require_voice_websockets(adapter)
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
        self._require_voice_websockets(adapter)
        relay = Relay("wss://voice.example.com/relay", "token", text)

        response = adapter.render(CallReply((relay,), STATE), callback_url=CALLBACK)

        [action] = self.read_response(response).actions
        assert isinstance(action, Relay)
        assert len(action.greeting) <= self.max_text_length

    def test_the_end_of_a_voice_websocket_is_parsed(self, adapter: TelephonyAdapter) -> None:
        self._require_voice_websockets(adapter)

        carrier_event = adapter.parse(self.event_request(adapter, "relayed", call_id=new_call_id()))

        assert (carrier_event.kind, carrier_event.state) == ("relayed", STATE)
        assert carrier_event.handoff

    def test_a_broken_voice_websocket_has_no_handoff(self, adapter: TelephonyAdapter) -> None:
        self._require_voice_websockets(adapter)
        request = self.event_request(adapter, "relayed", call_id=new_call_id(), broken=True)

        assert (adapter.parse(request).kind, adapter.parse(request).handoff) == ("relayed", "")

    def test_a_carrier_without_voice_websockets_verifies_none(
        self, adapter: TelephonyAdapter
    ) -> None:
        if adapter.capabilities.relay:
            pytest.skip("the adapter has voice WebSockets")

        with pytest.raises(InvalidCarrierSignature):
            adapter.verify_websocket(CarrierRequest("relay", "wss://voice.example.com", {}, b""))

    def _require_voice_websockets(self, adapter: TelephonyAdapter) -> None:
        if not adapter.capabilities.relay:
            pytest.skip("the adapter has no voice WebSockets")
