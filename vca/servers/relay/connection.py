"""A carrier's WebSocket as a conversation sees it: known frames come in, text goes out."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from simple_websocket import ConnectionClosed, Server

from vca.kit.deadline import Deadline
from vca.observability import log, metrics
from vca.servers.relay import frames
from vca.servers.relay.frames import Frame, UnknownFrame, UnreadableFrame

# Close codes of the WebSocket protocol: the end, unreadable data, and a rejected client.
NORMAL_CLOSURE, UNREADABLE, POLICY_VIOLATION = 1000, 1003, 1008
_NO_CLOSE_CODE = 1005
# To detect a carrier that is gone: probe an idle connection, and limit unacknowledged data.
_PROBE_AFTER_S, _PROBE_EVERY_S, _PROBES = 20, 5, 3
_UNACKNOWLEDGED_MS = 30_000
_CLOSE_TIMEOUT_S = 5.0


class VoiceConnection:
    """A carrier's WebSocket. Receiving and sending raise ConnectionClosed once it is closed."""

    def __init__(self, ws: Server) -> None:
        self._ws = ws
        _enable_keepalive(ws.sock)

    @property
    def is_broken(self) -> bool:
        """Whether the connection has ended without a close code of the carrier."""
        return not self._ws.connected and self._ws.close_reason == _NO_CLOSE_CODE

    def receive_frame(self, timeout_s: float) -> Frame | None:
        """Return the next known frame, or None if there is none in time."""
        deadline = Deadline.after(timeout_s)
        while True:
            data = self._ws.receive(timeout=deadline.remaining_s)
            if data is None:
                return None
            frame = self._parse_frame(data)
            if not isinstance(frame, UnknownFrame):
                return frame
            metrics.RELAY_FRAMES_IGNORED.inc()

    def send_text(self, text: str, *, last: bool = False) -> None:
        """Send a part of an answer for the carrier to speak."""
        self._ws.send(frames.text_frame(text, last=last))

    def send_end(self, handoff: str) -> Iterator[Frame]:
        """Make the carrier ask what to do next; yield the known frames until it has closed.

        Waits only briefly.
        """
        self._ws.send(frames.end_frame(handoff))
        yield from self._last_frames()

    def send_language(self, tts_language: str) -> None:
        """Change the language that the carrier speaks, by the carrier's name for it."""
        self._ws.send(frames.language_frame(tts_language))

    def drop(self) -> Iterator[Frame]:
        """End the connection so that the carrier opens another one; yield its last known frames.

        There is no closing handshake: Twilio opens another WebSocket after an unexpected end of the
        connection. Our end of it is closed first, so that no frame is lost that was on its way.
        """
        with suppress(OSError):
            self._ws.sock.shutdown(socket.SHUT_WR)
        yield from self._last_frames()
        with suppress(OSError):
            self._ws.sock.shutdown(socket.SHUT_RDWR)

    def close(self, code: int) -> None:
        """Close the WebSocket with this close code."""
        self._ws.close(code)

    def _last_frames(self) -> Iterator[Frame]:
        deadline = Deadline.after(_CLOSE_TIMEOUT_S)
        with suppress(ConnectionClosed):
            while frame := self.receive_frame(deadline.remaining_s):
                yield frame

    def _parse_frame(self, data: str | bytes) -> Frame:
        try:
            return frames.parse_frame(data)
        except UnreadableFrame as error:
            log.get_logger().warning("relay.unreadable_frame", why=str(error))
            self._ws.close(UNREADABLE)
            raise ConnectionClosed(UNREADABLE, str(error)) from None


def _enable_keepalive(sock: Any) -> None:
    """Make the kernel notice a peer that is gone.

    A carrier need not answer our pings.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
