"""Play the same caller on five connections: fake, Twilio and Telnyx, with HTTP and WebSocket."""

from abc import ABC, abstractmethod
from typing import Any
from xml.etree.ElementTree import Element

from tests.fakes.carriers.carrier_websocket import CarrierWebSocket
from tests.fakes.carriers.telnyx.carrier_client import TelnyxCarrierClient, spoken_texts
from tests.fakes.carriers.twilio.call import TwilioCall
from tests.fakes.carriers.twilio.connected_twilio import ACCOUNT_LOGIN
from tests.fakes.carriers.twilio.twiml import TwimlDocument
from tests.fakes.carriers.twilio.webhooks import socket_signature
from tests.support.carrier_client import CarrierClient, spoken_text


class ScriptedCaller(ABC):
    """A caller. Each method returns the text that the caller hears next."""

    @abstractmethod
    def ring(self) -> str: ...

    @abstractmethod
    def say(self, text: str) -> str: ...

    @abstractmethod
    def press(self, keys: str) -> str: ...

    @abstractmethod
    def stay_silent(self) -> str: ...

    @abstractmethod
    def transfer_is_busy(self) -> str: ...

    @abstractmethod
    def hang_up(self) -> None: ...

    def finish_turn(self) -> str:
        """Complete the turn on a WebSocket carrier; over HTTP, text and actions come together."""
        return ""


class OnFakeCarrier(ScriptedCaller):
    def __init__(self, carrier_client: CarrierClient, number: str) -> None:
        self._carrier_client, self._number, self._call = carrier_client, number, "a-call"
        self._state = ""

    def ring(self) -> str:
        return self._spoken_text(self._carrier_client.ring(self._number, self._call))

    def say(self, text: str) -> str:
        return self._spoken_text(self._carrier_client.say(self._call, self._state, text))

    def press(self, keys: str) -> str:
        return self._spoken_text(
            self._carrier_client.send_event("keys", self._call, self._state, keys=keys)
        )

    def stay_silent(self) -> str:
        return self.say("")

    def transfer_is_busy(self) -> str:
        return self._spoken_text(
            self._carrier_client.send_event("leg", self._call, self._state, outcome="busy")
        )

    def hang_up(self) -> None:
        self._carrier_client.send_status(self._call, "completed")

    def _spoken_text(self, response: dict[str, Any]) -> str:
        self._state = response["state"] or ""
        return spoken_text(response)


class OnTwilio(ScriptedCaller):
    def __init__(self, call: TwilioCall) -> None:
        self.call = call

    def ring(self) -> str:
        return self._spoken_text(self.call.ring())

    def say(self, text: str) -> str:
        return self._spoken_text(self.call.say(text))

    def press(self, keys: str) -> str:
        return self._spoken_text(self.call.press(keys))

    def stay_silent(self) -> str:
        return self._spoken_text(self.call.stay_silent())

    def transfer_is_busy(self) -> str:
        return self._spoken_text(self.call.end_leg("busy"))

    def hang_up(self) -> None:
        self.call.hang_up()

    def _spoken_text(self, document: TwimlDocument) -> str:
        return document.spoken_text


class OnSocket(ScriptedCaller):
    """Base class for carriers with a WebSocket, once it is open."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.socket: CarrierWebSocket | None = None

    @abstractmethod
    def resume(self, handoff: str) -> str:
        """Report to the product that the WebSocket has ended with this handoff data."""

    def say(self, text: str) -> str:
        assert self.socket is not None
        self.socket.send("prompt", voicePrompt=text, lang="en-US", last=True)
        return self._receive_answer()

    def press(self, keys: str) -> str:
        assert self.socket is not None
        self.socket.press(keys)
        return self._receive_answer()

    def stay_silent(self) -> str:
        return self._receive_answer()

    def finish_turn(self) -> str:
        """Wait for the end of the WebSocket, and continue the call with its handoff data."""
        assert self.socket is not None
        handoff, self.socket = self.socket.receive_end(), None
        return self.resume(handoff)

    def _receive_answer(self) -> str:
        assert self.socket is not None
        return self.socket.receive_answer()


class OnTwilioRelay(OnSocket):
    def __init__(self, call: TwilioCall, base_url: str) -> None:
        super().__init__(base_url)
        self.call = call

    def ring(self) -> str:
        return self._connect_socket(self.call.ring())

    def transfer_is_busy(self) -> str:
        return self._connect_socket(self.call.end_leg("busy"))

    def resume(self, handoff: str) -> str:
        return self._connect_socket(self.call.end_relay(handoff))

    def hang_up(self) -> None:
        self.call.hang_up()

    def _connect_socket(self, document: TwimlDocument) -> str:
        relay = document.root.find("Connect/ConversationRelay")
        if relay is None:
            return document.spoken_text
        self.socket = open_twilio_socket(self.base_url, relay, self.call.sid)
        return f"{document.spoken_text} {relay.get('welcomeGreeting') or ''}".strip()


def open_twilio_socket(base_url: str, relay: Element, call_sid: str) -> CarrierWebSocket:
    """Open the WebSocket that a TwiML document names, as Twilio does."""
    parameters = {
        parameter.get("name"): parameter.get("value") for parameter in relay.iter("Parameter")
    }
    setup = {"callSid": call_sid, "sessionId": "VX1", "customParameters": parameters}
    signature = socket_signature(ACCOUNT_LOGIN, relay.get("url") or "")
    url = f"{base_url}twilio/relay/{url_token(relay.get('url'))}"
    return CarrierWebSocket(url, setup=setup, headers={"X-Twilio-Signature": signature})


def url_token(websocket_url: str | None) -> str:
    """Return the token at the end of a WebSocket URL of the product."""
    _, _, token = (websocket_url or "").partition("/relay/")
    assert token
    return token


class OnTelnyx(ScriptedCaller):
    def __init__(self, carrier_client: TelnyxCarrierClient, number: str) -> None:
        self.carrier_client, self._number = carrier_client, number
        self._heard_count = 0

    def ring(self) -> str:
        self.leg = self.carrier_client.ring(self._number)
        return self._new_text()

    def say(self, text: str) -> str:
        self.carrier_client.say(self.leg, text)
        return self._new_text()

    def press(self, keys: str) -> str:
        self.carrier_client.press(self.leg, keys)
        return self._new_text()

    def stay_silent(self) -> str:
        self.carrier_client.keep_silent(self.leg)
        return self._new_text()

    def transfer_is_busy(self) -> str:
        self.carrier_client.switch.end_target(self.leg, "user_busy")
        self.carrier_client.deliver_events()
        return self._new_text()

    def hang_up(self) -> None:
        self.carrier_client.hang_up(self.leg)

    def _new_text(self) -> str:
        texts = spoken_texts(self.leg)
        new_texts, self._heard_count = texts[self._heard_count :], len(texts)
        return " ".join(new_texts)


class OnTelnyxRelay(OnSocket):
    def __init__(self, carrier_client: TelnyxCarrierClient, number: str, base_url: str) -> None:
        super().__init__(base_url)
        self.carrier_client, self._number = carrier_client, number
        self._heard_count = 0

    def ring(self) -> str:
        self.leg = self.carrier_client.ring(self._number)
        return self._connect_socket()

    def transfer_is_busy(self) -> str:
        self.carrier_client.switch.end_target(self.leg, "user_busy")
        self.carrier_client.deliver_events()
        return self._connect_socket()

    def resume(self, handoff: str) -> str:
        self.carrier_client.switch.end_relay(self.leg, "ended")
        self.carrier_client.deliver_events()
        return self._connect_socket()

    def hang_up(self) -> None:
        self.carrier_client.hang_up(self.leg)

    def _connect_socket(self) -> str:
        texts = spoken_texts(self.leg)
        new_texts, self._heard_count = texts[self._heard_count :], len(texts)
        if self.leg.relay is not None:
            self.socket = open_telnyx_socket(self.base_url, self.leg)
            new_texts.append(self.leg.relay.get("greeting", ""))
        return " ".join(new_texts).strip()


def open_telnyx_socket(base_url: str, leg: Any) -> CarrierWebSocket:
    """Open the WebSocket that a Telnyx command names, as Telnyx does."""
    setup = {
        "callSid": leg.leg_id,
        "callControlId": leg.id,
        "customParameters": leg.relay["custom_parameters"],
    }
    url = f"{base_url}telnyx/relay/{url_token(leg.relay['url'])}"
    return CarrierWebSocket(url, setup=setup)
