"""A ConversationRelay session of Twilio with `applicationReconnect`, as Twilio documents it.

Source: https://www.twilio.com/en-us/changelog/conversation-relay--dynamic-configuration--application-reconnect
(28 October 2026). After an unexpected end of the connection Twilio connects again, keeps up to 500
events in the meantime, and then sends them. Twilio's pages that could be read do not describe the
first frame of such a connection: this fake sends `setup` again, as at the start of each connection.
"""

from collections import deque
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from simple_websocket import ConnectionClosed

from tests.fakes.carriers.call_scripts import open_twilio_socket
from tests.fakes.carriers.carrier_websocket import NO_CLOSE_FRAME, TIMEOUT_S, CarrierWebSocket

MAX_BUFFERED_EVENTS = 500


class SessionEnded(Exception):
    """The product has ended the session, with handoff data or by closing the WebSocket."""

    def __init__(self, handoff: str | None) -> None:
        super().__init__(handoff)
        self.handoff = handoff


class TwilioRelaySession:
    """A session. It connects to the URL that `relay_url` returns at that time."""

    def __init__(self, relay_url: Callable[[], str], relay: Element, call_sid: str) -> None:
        assert relay.get("applicationReconnect") == "true"
        self._relay_url, self._relay, self._call_sid = relay_url, relay, call_sid
        self._buffered_events: deque[tuple[str, dict[str, Any]]] = deque()
        self.connection_count = 0
        self._connect()

    def send(self, kind: str, **fields: Any) -> None:
        """Send an event, or keep it until there is a connection."""
        try:
            self.socket.send(kind, **fields)
        except (ConnectionClosed, OSError):
            assert len(self._buffered_events) < MAX_BUFFERED_EVENTS
            self._buffered_events.append((kind, fields))

    def receive_frame(self, within_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Return the next frame, after connecting again if necessary. Raise SessionEnded."""
        while True:
            try:
                frame = self.socket.receive_frame(within_s)
            except ConnectionClosed:
                if self.socket.client.close_reason != NO_CLOSE_FRAME:
                    raise SessionEnded(None) from None
                self.reconnect()
                continue
            if frame["type"] == "end":
                self.socket.close()
                raise SessionEnded(str(frame["handoffData"]))
            return frame

    def say(self, text: str) -> str:
        """Send what the caller says and return the answer."""
        self.send("prompt", voicePrompt=text, lang="en-US", last=True)
        return self.receive_answer()

    def receive_answer(self) -> str:
        """Return the text of all frames up to the last one of an answer."""
        text = ""
        while True:
            frame = self.receive_frame()
            assert frame["type"] == "text", frame
            text += str(frame["token"])
            if frame["last"]:
                return text.strip()

    def reconnect(self) -> None:
        """Connect again and send the events that were kept."""
        self._connect()
        while self._buffered_events:
            kind, fields = self._buffered_events.popleft()
            self.socket.send(kind, **fields)

    def hang_up(self) -> None:
        self.socket.close()

    def _connect(self) -> None:
        self.connection_count += 1
        self.socket: CarrierWebSocket = open_twilio_socket(
            self._relay_url(), self._relay, self._call_sid
        )
