"""Read a request's body within a deadline, and give its bytes to the app.

VCA's web server sets `wsgi.input` to a `SocketBody`. Other servers, and the tests' client, have the
whole body already.
"""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from time import monotonic
from typing import Protocol

from flask import Request
from typing_extensions import Buffer, override
from werkzeug.exceptions import LengthRequired, RequestEntityTooLarge

from vca.kit.errors import DomainError
from vca.kit.web.parser import check_body

# The longest time in which a body must be complete.
TOTAL_S = 10.0
# After this time, at least MIN_BYTES_PER_S must have arrived on average.
RATE_FREE_S = 2.0
MIN_BYTES_PER_S = 4_000
# A body that was sent together with its head is complete within this time, even if its last packets
# are still on their way. It needs no place for slow bodies.
PROMPT_S = 0.05
_MAX_RECEIVE = 256 * 1024
# The server discards what the app has not read of a body only if it is shorter than this.
MAX_DISCARDED = 64 * 1024


class BodyTooSlow(DomainError):
    """The client did not send the body in time. The connection is closed."""

    status = 408
    code = "body-too-slow"

    def __init__(self) -> None:
        super().__init__(
            f"The body must be complete within {TOTAL_S:g} seconds, and arrive with at least "
            f"{MIN_BYTES_PER_S // 1000} kB/s after the first {RATE_FREE_S:g} seconds."
        )


class BodyIncomplete(DomainError):
    """The client closed the connection before the body was complete."""

    status = 400
    code = "unreadable-body"

    def __init__(self) -> None:
        super().__init__("The body is shorter than its Content-Length.")


class Unreader(Protocol):
    """What a server's parser has read beyond the head of a request."""

    def take_buffered(self) -> bytes:
        """Return the bytes and forget them."""

    def unread(self, data: bytes) -> None:
        """Put bytes back, in front of those that are buffered."""


class SocketBody(BytesIO):
    """The body of a request on a socket. Nothing is received before it is asked for.

    `length` is None for a body without a declared length, which is never received. If the response
    begins before the body is complete, `close_connection` is called: otherwise the rest of the body
    would look like the client's next request.
    """

    def __init__(
        self,
        sock: socket.socket,
        unreader: Unreader,
        length: int | None,
        close_connection: Callable[[], None],
    ) -> None:
        super().__init__()
        self._sock = sock
        self._unreader = unreader
        self._length = length
        self._close_connection = close_connection
        self._received = bytearray()
        self._is_ended = False
        self._is_readable = False

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes of the body; receive it first if that was not done."""
        self._ensure_readable()
        return super().read(size)

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        """Do as `read`, into a buffer."""
        self._ensure_readable()
        return super().readinto(buffer)

    def _ensure_readable(self) -> None:
        if not self._is_readable:
            self.receive(nullcontext)

    @property
    def is_complete(self) -> bool:
        """Whether the whole body was received."""
        return len(self._received) == self._length

    @property
    def failed(self) -> bool:
        """Whether bytes of this body may still come: the connection cannot be used again."""
        return not self.is_complete

    def receive_available(self) -> bool:
        """Receive what has arrived, without waiting; return whether the body is complete."""
        if self._length is None:
            return False
        if self._length and not self._received:
            buffered = self._unreader.take_buffered()
            self._received += buffered[: self._length]
            self._unreader.unread(buffered[self._length :])
        while not self.is_complete and self._receive(0):
            pass
        return self.is_complete

    def receive(self, hold_place: Callable[[], AbstractContextManager[None]]) -> bool:
        """Receive the whole body; return whether it had to wait for it.

        Enters the context `hold_place` before a longer wait. Raises BodyTooSlow, BodyIncomplete,
        and what the context raises.
        """
        if self._length is None:
            raise LengthRequired
        started_at = monotonic()
        waited = not self.receive_available()
        if not self._receive_until(lambda: started_at + PROMPT_S):
            with hold_place():
                if not self._receive_until(lambda: started_at + self._allowed_s()):
                    raise BodyTooSlow
        if not self._is_readable:
            self._is_readable = True
            self.write(self._received)
            self.seek(0)
        return waited

    def _allowed_s(self) -> float:
        """Return the time after which the bytes received so far were too slow."""
        return min(TOTAL_S, RATE_FREE_S + len(self._received) / MIN_BYTES_PER_S)

    def _receive_until(self, ends_at: Callable[[], float]) -> bool:
        """Receive the body until a moment that may move; return whether the body is complete."""
        while not self.receive_available():
            remaining_s = ends_at() - monotonic()
            if remaining_s <= 0:
                return False
            self._receive(remaining_s)
        return True

    def _receive(self, timeout_s: float) -> bool:
        """Receive once; return False if nothing came in time. Raises BodyIncomplete."""
        assert self._length is not None
        if self._is_ended:
            raise BodyIncomplete
        try:
            data = self._receive_data(self._length - len(self._received), timeout_s)
        except (BlockingIOError, TimeoutError):
            return False
        except ConnectionError:
            data = b""
        if not data:
            self._is_ended = True
            raise BodyIncomplete
        self._received += data
        return True

    def _receive_data(self, max_bytes: int, timeout_s: float) -> bytes:
        max_bytes = min(max_bytes, _MAX_RECEIVE)
        if timeout_s == 0:
            return self._sock.recv(max_bytes, socket.MSG_DONTWAIT)
        previous_timeout_s = self._sock.gettimeout()
        self._sock.settimeout(timeout_s)
        try:
            return self._sock.recv(max_bytes)
        finally:
            self._sock.settimeout(previous_timeout_s)

    def prepare_response(self) -> None:
        """Have the connection closed after the response unless the server can discard the body."""
        if not self._is_discardable():
            self._close_connection()

    def _is_discardable(self) -> bool:
        """Return whether little of the body is unread, and all of that has arrived."""
        if self._length is None or self._length - self.tell() >= MAX_DISCARDED:
            return False
        try:
            return self.receive_available()
        except BodyIncomplete:
            return False


def has_body(request: Request) -> bool:
    """Return whether the request has a body, or declares that one may follow."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def read_body(
    request: Request,
    hold_place: Callable[[], AbstractContextManager[None]],
    *,
    max_bytes: int,
) -> bool:
    """Receive the body of a request, so that reading it later does not wait.

    Returns whether a part of it had not arrived yet. A body that takes longer than `PROMPT_S` is
    received inside the context `hold_place`. Raises RequestEntityTooLarge, LengthRequired and
    UnsupportedMediaType before anything is received, and what `SocketBody.receive` raises.
    """
    check_body(request)
    if (request.content_length or 0) > max_bytes:
        raise RequestEntityTooLarge
    body = request.environ["wsgi.input"]
    return isinstance(body, SocketBody) and body.receive(hold_place)
