"""The connections of the web server's workers: reading heads, and writing to slow clients."""

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from time import monotonic
from typing import Any

from gunicorn.config import Config
from gunicorn.http import get_parser
from gunicorn.workers.gthread import TConn
from typing_extensions import Buffer, override

from vca.kit.admission import Admission, Busy

# The largest head that a request may have. The limits of gunicorn are per field.
MAX_HEAD = 64 * 1024
# How long a client may take to read a part of a response.
RESPONSE_TIMEOUT_S = 20.0
# A response up to this size never waits for its client.
SEND_BUFFER = 512 * 1024
_RECEIVE = 8 * 1024
_HEAD_END = b"\r\n\r\n"
# Requests of carriers and of monitoring, which other requests must not delay.
_RESERVED_PATHS = (b"/telephony/", b"/livez", b"/healthz", b"/metrics")


class Head(Enum):
    """What has arrived of a request's head."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    TOO_LARGE = "too large"
    ENDED = "ended"


class ClientSocket(socket.socket):
    """A client's socket that waits for a slow reader only if a place for slow responses is free."""

    slow_responses: Admission | None = None

    @override
    def sendall(self, data: Buffer, flags: int = 0, /) -> None:
        """Send all data. Raises BrokenPipeError if the client does not read it in time."""
        unsent = memoryview(data).cast("B")
        if self.slow_responses is None:
            super().sendall(unsent, flags)
            return
        unsent = unsent[self._send_available(unsent, flags) :]
        if not unsent:
            return
        try:
            with self.slow_responses.place("client"):
                self._send_slowly(unsent, flags)
        except (Busy, TimeoutError):
            raise BrokenPipeError(errno.EPIPE, "the client does not read the response") from None

    def _send_available(self, data: memoryview, flags: int) -> int:
        """Send what the kernel accepts without waiting; return the number of bytes."""
        try:
            return self.send(data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def _send_slowly(self, data: memoryview, flags: int) -> None:
        self.settimeout(RESPONSE_TIMEOUT_S)
        try:
            super().sendall(data, flags)
        finally:
            self.settimeout(None)


def to_client_socket(accepted: socket.socket, slow_responses: Admission | None) -> ClientSocket:
    """Return an accepted socket as a client's socket."""
    family, kind, protocol = accepted.family, accepted.type, accepted.proto
    client = ClientSocket(family, kind, protocol, fileno=accepted.detach())
    client.slow_responses = slow_responses
    if slow_responses is not None:
        with suppress(OSError):  # the client may have gone already
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return client


class PolledConnection(TConn):  # type: ignore[misc] # no stubs
    """A connection whose requests' heads are received without a thread."""

    def __init__(
        self,
        cfg: Config,
        sock: socket.socket,
        client: Any,
        server: Any,
        linger: Callable[["PolledConnection"], None],
    ) -> None:
        super().__init__(cfg, sock, client, server)
        self.parser = get_parser(cfg, sock, client)
        self.initialized = True
        self.is_ordinary = False  # whether it counts as an ordinary request now
        self.is_waiting = False  # whether it is an ordinary request that has a place to wait now
        self.is_closed = False
        self.waits_since = 0.0
        self._linger = linger
        self._head = bytearray()
        self._searched = 0  # up to where the head has not ended

    def expect_head(self) -> None:
        """Begin to wait for the next request; a part of it may have arrived with the last one."""
        self.waits_since = monotonic()
        self._head += self.parser.unreader.take_buffered()
        self.sock.setblocking(False)

    def receive_head(self) -> Head:
        """Receive what has arrived of the next request, without waiting."""
        while not self._has_head():
            self._searched = max(0, len(self._head) - len(_HEAD_END))
            if len(self._head) > MAX_HEAD:
                return Head.TOO_LARGE
            try:
                data = self.sock.recv(_RECEIVE)
            except BlockingIOError:
                return Head.INCOMPLETE
            except OSError:
                return Head.ENDED
            if not data:
                return Head.ENDED
            self._head += data
        return Head.COMPLETE

    def _has_head(self) -> bool:
        """Return whether gunicorn's parser would not wait for more of the head.

        It rejects a line that ends in a bare line feed.
        """
        head = self._head
        if head.find(_HEAD_END, self._searched) >= 0:
            return True
        line_feed = head.find(b"\n", self._searched)
        return line_feed >= 0 and head.count(b"\n") != head.count(b"\r\n")

    @property
    def is_reserved(self) -> bool:
        """Whether the next request is one of a carrier or of monitoring."""
        _, _, target = self._head[:256].partition(b" ")
        return target.startswith(_RESERVED_PATHS)

    def pass_head_on(self) -> None:
        """Give what was received to the parser."""
        self.parser.unreader.unread(bytes(self._head))
        self._head.clear()
        self._searched = 0

    @override
    def close(self, graceful: bool = False) -> None:
        """Close the connection; `graceful`: when the client has read what was sent to it."""
        if graceful:
            self._linger(self)
        else:
            self.is_closed = True
            super().close()
