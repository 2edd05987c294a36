"""One caller on five lines: what he does is the same, how his carrier tells it is not."""

from abc import ABC, abstractmethod
from typing import Any
from xml.etree.ElementTree import Element

from tests.carriers.sockets import CarrierSocket
from tests.carriers.telnyx.line import TelnyxLine, heard
from tests.carriers.twilio.line import TwilioCall
from tests.carriers.twilio.rig import OURS
from tests.carriers.twilio.twiml import Document
from tests.carriers.twilio.webhooks import socket_signature
from tests.support.carrier_line import CarrierLine, words


class Caller(ABC):
    """Each method returns what the caller hears then."""

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

    def leave(self) -> str:
        """Let the carrier do what is not said: nothing is left to, where it was told with words."""
        return ""


class OnFake(Caller):
    def __init__(self, line: CarrierLine, number: str) -> None:
        self._line, self._number, self._call = line, number, "a-call"
        self._state = ""

    def ring(self) -> str:
        return self._heard(self._line.ring(self._number, self._call))

    def say(self, text: str) -> str:
        return self._heard(self._line.say(self._call, self._state, text))

    def press(self, keys: str) -> str:
        return self._heard(self._line.tell("keys", self._call, self._state, keys=keys))

    def stay_silent(self) -> str:
        return self.say("")

    def transfer_is_busy(self) -> str:
        return self._heard(self._line.tell("leg", self._call, self._state, outcome="busy"))

    def hang_up(self) -> None:
        self._line.status(self._call, "completed")

    def _heard(self, answer: dict[str, Any]) -> str:
        self._state = answer["state"] or ""
        return words(answer)


class OnTwilio(Caller):
    def __init__(self, call: TwilioCall) -> None:
        self.call = call

    def ring(self) -> str:
        return self._heard(self.call.ring())

    def say(self, text: str) -> str:
        return self._heard(self.call.say(text))

    def press(self, keys: str) -> str:
        return self._heard(self.call.press(keys))

    def stay_silent(self) -> str:
        return self._heard(self.call.stay_silent())

    def transfer_is_busy(self) -> str:
        return self._heard(self.call.leg_ended("busy"))

    def hang_up(self) -> None:
        self.call.hang_up()

    def _heard(self, document: Document) -> str:
        return document.words


class Sockets(Caller):
    """What is the same for carriers with sockets, once theirs is open."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.socket: CarrierSocket | None = None

    @abstractmethod
    def come_back(self, handoff: str) -> str:
        """The socket has ended with this word."""

    def say(self, text: str) -> str:
        assert self.socket is not None
        self.socket.tell("prompt", voicePrompt=text, lang="en-US", last=True)
        return self._hear()

    def press(self, keys: str) -> str:
        assert self.socket is not None
        self.socket.press(keys)
        return self._hear()

    def stay_silent(self) -> str:
        return self._hear()

    def leave(self) -> str:
        """Let the socket be ended, and come back."""
        assert self.socket is not None
        handoff, self.socket = self.socket.ended(), None
        return self.come_back(handoff)

    def _hear(self) -> str:
        assert self.socket is not None
        return self.socket.answer()


class OnTwilioRelay(Sockets):
    def __init__(self, call: TwilioCall, at: str) -> None:
        super().__init__(at)
        self.call = call

    def ring(self) -> str:
        return self._connected(self.call.ring())

    def transfer_is_busy(self) -> str:
        return self._connected(self.call.leg_ended("busy"))

    def come_back(self, handoff: str) -> str:
        return self._connected(self.call.relay_ended(handoff))

    def hang_up(self) -> None:
        self.call.hang_up()

    def _connected(self, document: Document) -> str:
        relay = document.root.find("Connect/ConversationRelay")
        if relay is None:
            return document.words
        self.socket = twilio_socket(self.at, relay, self.call.sid)
        return f"{document.words} {relay.get('welcomeGreeting') or ''}".strip()


def twilio_socket(at: str, relay: Element, call_sid: str) -> CarrierSocket:
    """Twilio opens the socket that it was told of."""
    parameters = {each.get("name"): each.get("value") for each in relay}
    setup = {"callSid": call_sid, "sessionId": "VX1", "customParameters": parameters}
    signature = socket_signature(OURS, relay.get("url") or "")
    return CarrierSocket(
        f"{at}twilio/relay", setup=setup, headers={"X-Twilio-Signature": signature}
    )


class OnTelnyx(Caller):
    def __init__(self, line: TelnyxLine, number: str) -> None:
        self.line, self._number = line, number
        self._told = 0

    def ring(self) -> str:
        self.leg = self.line.ring(self._number)
        return self._heard()

    def say(self, text: str) -> str:
        self.line.say(self.leg, text)
        return self._heard()

    def press(self, keys: str) -> str:
        self.line.press(self.leg, keys)
        return self._heard()

    def stay_silent(self) -> str:
        self.line.keep_silent(self.leg)
        return self._heard()

    def transfer_is_busy(self) -> str:
        self.line.switch.part(self.leg, "user_busy")
        self.line.pump()
        return self._heard()

    def hang_up(self) -> None:
        self.line.put_down(self.leg)

    def _heard(self) -> str:
        said = heard(self.leg)
        new, self._told = said[self._told :], len(said)
        return " ".join(new)


class OnTelnyxRelay(Sockets):
    def __init__(self, line: TelnyxLine, number: str, at: str) -> None:
        super().__init__(at)
        self.line, self._number = line, number
        self._told = 0

    def ring(self) -> str:
        self.leg = self.line.ring(self._number)
        return self._connected()

    def transfer_is_busy(self) -> str:
        self.line.switch.part(self.leg, "user_busy")
        self.line.pump()
        return self._connected()

    def come_back(self, handoff: str) -> str:
        self.line.switch.relay_ends(self.leg, "ended")
        self.line.pump()
        return self._connected()

    def hang_up(self) -> None:
        self.line.put_down(self.leg)

    def _connected(self) -> str:
        said = heard(self.leg)
        new, self._told = said[self._told :], len(said)
        if self.leg.relay is not None:
            self.socket = telnyx_socket(self.at, self.leg)
            new.append(self.leg.relay.get("greeting", ""))
        return " ".join(new).strip()


def telnyx_socket(at: str, leg: Any) -> CarrierSocket:
    """Telnyx opens the socket that it was told of."""
    setup = {
        "callSid": leg.leg_id,
        "callControlId": leg.id,
        "customParameters": leg.relay["custom_parameters"],
    }
    return CarrierSocket(f"{at}telnyx/relay", setup=setup)
