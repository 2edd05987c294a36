"""HTTP under one deadline: to connect, wait and read to the end, however the other side drips.

httpx bounds each read, so a server that sends a byte now and then holds its client for ever. Here
the time-out that httpcore hands to each of its reads is a `Deadline`, and the network backend asks
it what is left.
"""

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, TypeAlias

import httpcore2
import httpx2

from vca.conversation.llm import stopping

MAX_BYTES = 2 * 1024 * 1024
MAX_CONNECTIONS = 200
KEEP_IDLE_S = 60.0
_LINGER_S = 0.05

Lookup: TypeAlias = Callable[[str, int], list[str]]


class AnswerTooLong(httpx2.ReadError):
    """A body went beyond MAX_BYTES."""


class Deadline(float):
    """Seconds until a fixed moment, in the guise of a time-out."""

    ends_at: float

    def __new__(cls, seconds: float) -> "Deadline":
        deadline = super().__new__(cls, seconds)
        deadline.ends_at = monotonic() + seconds
        return deadline

    def shorten(self, seconds: float) -> None:
        """Let it end within `seconds` from now."""
        self.ends_at = min(self.ends_at, monotonic() + seconds)


class DeadlineTransport(httpx2.HTTPTransport):
    """Reads the `read` time-out of a request as the deadline of the whole exchange, body included.

    Nothing comes from the environment; bodies are bounded and never decompressed.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        context = ssl_context or _trusted()
        super().__init__(verify=context, trust_env=False)
        # httpx has no argument for the backend, so its pool is replaced by one that has ours.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_IDLE_S,
            network_backend=DeadlineBackend(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        stop = stopping.current()
        if stop is not None and stop.asked:
            raise httpx2.ReadTimeout("stopped")
        asked = request.extensions["timeout"]
        whole = Deadline(asked["read"])
        connect = Deadline(min(asked["connect"], whole))
        timeouts = {"connect": connect, "read": whole, "write": whole, "pool": whole}
        request.extensions["timeout"] = timeouts
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Body(response.stream, whole)
        # We ask for identity; who compresses all the same is not unpacked, as a bomb would be.
        response.headers.pop("content-encoding", None)
        return response


@cache
def _trusted() -> ssl.SSLContext:
    """The system's certificates, read once."""
    return httpx2.create_ssl_context(trust_env=False)


class _Body(httpx2.SyncByteStream):
    """A bounded body that, closed after its last event, gives its connection back for the next."""

    def __init__(self, stream: httpx2.SyncByteStream, deadline: Deadline) -> None:
        self._stream = stream
        self._chunks = iter(stream)
        self._deadline = deadline
        self._size = 0
        self._tail = b""

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._size += len(chunk)
            if self._size > MAX_BYTES:
                raise AnswerTooLong("the answer is too long")
            self._tail = (self._tail + chunk)[-64:]
            yield chunk

    def close(self) -> None:
        # The SDK stops reading at [DONE], just before the body's end, and httpcore can only keep a
        # connection whose body was read to the end. A new one costs every turn of a call two or
        # three round trips.
        if b"[DONE]" in self._tail:
            self._deadline.shorten(_LINGER_S)
            with suppress(httpx2.TransportError):
                for _ in self:
                    pass
        self._stream.close()


class NameNotResolved(httpcore2.ConnectError):
    """The name service knows no address of the host."""


class DeadlineBackend(httpcore2.SyncBackend):
    """Sockets whose every wait ends with the deadline, the wait for a name's addresses too."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or addresses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for address in self._resolved(host, port, timeout):
            try:
                stream = super().connect_tcp(
                    address, port, _left(timeout, httpcore2.ConnectTimeout), None, socket_options
                )
                return _DeadlineStream(stream)
            except httpcore2.ConnectError as error:
                failure = error
        raise failure

    def _resolved(self, host: str, port: int, timeout: float | None) -> list[str]:
        # getaddrinfo takes no time-out and can't be interrupted: it is left behind in its own
        # thread.
        answers: SimpleQueue[list[str] | OSError] = SimpleQueue()
        Thread(target=_answer, args=(answers, self._lookup, host, port), daemon=True).start()
        try:
            answer = answers.get(timeout=_left(timeout, httpcore2.ConnectTimeout))
        except Empty:
            raise httpcore2.ConnectTimeout("the name was not resolved in time") from None
        if isinstance(answer, OSError):
            raise NameNotResolved("the name was not resolved")
        return answer


class _DeadlineStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _left(timeout, httpcore2.ReadTimeout)
        stop = stopping.current()
        if stop is None:
            return self._stream.read(max_bytes, left)
        with stop.waking(self._wake):
            data = self._stream.read(max_bytes, left)
        if stop.asked:
            raise httpcore2.ReadTimeout("stopped")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def _wake(self) -> None:
        """End a read that another thread waits in; closing the socket would not wake it."""
        # Not SSLSocket's own shutdown, which would forget the encryption under the reader's hands.
        with suppress(OSError):
            socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = _left(timeout, httpcore2.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def addresses(host: str, port: int) -> list[str]:
    """The addresses of a name, best first; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _answer(
    answers: "SimpleQueue[list[str] | OSError]", lookup: Lookup, host: str, port: int
) -> None:
    try:
        answers.put(lookup(host, port))
    except OSError as error:
        answers.put(error)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    if not isinstance(timeout, Deadline):
        return timeout
    left = timeout.ends_at - monotonic()
    if left <= 0:
        # Not handed on: a socket with a time-out of 0 does not wait at all, and says so in another
        # way.
        raise late("the deadline has passed")
    return left
