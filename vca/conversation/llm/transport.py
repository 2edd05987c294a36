"""HTTP with one deadline for connecting, waiting and reading, however slowly the server sends.

httpx limits each single read, so a server that sends a byte now and then can hold its client for
ever. In this module the timeout that httpcore passes to each read is a `Deadline`, and the network
backend asks it how much time is left.
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
from typing_extensions import override

from vca.conversation.llm import cancellation

MAX_BYTES = 2 * 1024 * 1024
MAX_CONNECTIONS = 200
KEEPALIVE_S = 60.0
_DRAIN_TIMEOUT_S = 0.05

AddressLookup: TypeAlias = Callable[[str, int], list[str]]


class ResponseTooLong(httpx2.ReadError):
    """A response body exceeded MAX_BYTES."""


class Deadline(float):
    """The seconds until a fixed moment, usable as a timeout."""

    ends_at: float

    @override
    def __new__(cls, seconds: float) -> "Deadline":
        deadline = super().__new__(cls, seconds)
        deadline.ends_at = monotonic() + seconds
        return deadline

    def shorten(self, seconds: float) -> None:
        """Let the deadline end within `seconds` from now."""
        self.ends_at = min(self.ends_at, monotonic() + seconds)


class DeadlineTransport(httpx2.HTTPTransport):
    """Uses a request's `read` timeout as the deadline of the whole exchange, body included.

    Nothing is read from the environment. Bodies are bounded and never decompressed.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        context = ssl_context or _default_ssl_context()
        super().__init__(verify=context, trust_env=False)
        # httpx has no argument for the network backend, so replace its pool by one with ours.
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=DeadlineBackend(),
        )

    @override
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        cancel_token = cancellation.current_token()
        if cancel_token is not None and cancel_token.cancelled:
            raise httpx2.ReadTimeout("stopped")
        requested_timeouts = request.extensions["timeout"]
        total = Deadline(requested_timeouts["read"])
        connect = Deadline(min(requested_timeouts["connect"], total))
        timeouts = {"connect": connect, "read": total, "write": total, "pool": total}
        request.extensions["timeout"] = timeouts
        response = super().handle_request(request)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _BoundedBody(response.stream, total)
        # We request identity encoding. A body that is compressed anyway is not decompressed: it
        # could be a decompression bomb.
        response.headers.pop("content-encoding", None)
        return response


@cache
def _default_ssl_context() -> ssl.SSLContext:
    """Return the TLS context with the system's certificates, which are read once."""
    return httpx2.create_ssl_context(trust_env=False)


class _BoundedBody(httpx2.SyncByteStream):
    """A bounded body that returns its connection to the pool if it is closed at its end."""

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
                raise ResponseTooLong("the answer is too long")
            self._tail = (self._tail + chunk)[-64:]
            yield chunk

    def close(self) -> None:
        # The SDK stops reading at [DONE], just before the body's end, and httpcore can only reuse a
        # connection whose body was read to the end. Read the rest: a new connection would cost
        # every turn of a call two or three round trips.
        if b"[DONE]" in self._tail:
            self._deadline.shorten(_DRAIN_TIMEOUT_S)
            with suppress(httpx2.TransportError):
                for _ in self:
                    pass
        self._stream.close()


class NameNotResolved(httpcore2.ConnectError):
    """The name server knows no address of the host."""


class DeadlineBackend(httpcore2.SyncBackend):
    """Sockets whose waits all end with the deadline, including the wait for name resolution."""

    def __init__(self, lookup: AddressLookup | None = None) -> None:
        self._lookup = lookup or lookup_addresses

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for address in self._resolve(host, port, timeout):
            try:
                stream = super().connect_tcp(
                    address,
                    port,
                    _remaining_s(timeout, httpcore2.ConnectTimeout),
                    None,
                    socket_options,
                )
                return _DeadlineStream(stream)
            except httpcore2.ConnectError as error:
                failure = error
        raise failure

    def _resolve(self, host: str, port: int, timeout: float | None) -> list[str]:
        # getaddrinfo has no timeout and cannot be interrupted, so it runs in a thread that is
        # abandoned on timeout.
        results: SimpleQueue[list[str] | OSError] = SimpleQueue()
        Thread(target=_run_lookup, args=(results, self._lookup, host, port), daemon=True).start()
        try:
            result = results.get(timeout=_remaining_s(timeout, httpcore2.ConnectTimeout))
        except Empty:
            raise httpcore2.ConnectTimeout("the name was not resolved in time") from None
        if isinstance(result, OSError):
            raise NameNotResolved("the name was not resolved")
        return result


class _DeadlineStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left_s = _remaining_s(timeout, httpcore2.ReadTimeout)
        cancel_token = cancellation.current_token()
        if cancel_token is None:
            return self._stream.read(max_bytes, left_s)
        with cancel_token.on_cancel(self._abort_read):
            data = self._stream.read(max_bytes, left_s)
        if cancel_token.cancelled:
            raise httpcore2.ReadTimeout("stopped")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining_s(timeout, httpcore2.WriteTimeout))

    def _abort_read(self) -> None:
        """End a read that another thread is blocked in; closing the socket would not wake it."""
        # Not SSLSocket.shutdown, which would discard the TLS state while the reader uses it.
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
        left_s = _remaining_s(timeout, httpcore2.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def lookup_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a name, best first; raises OSError."""
    address_infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in address_infos]


def _run_lookup(
    results: "SimpleQueue[list[str] | OSError]", lookup: AddressLookup, host: str, port: int
) -> None:
    try:
        results.put(lookup(host, port))
    except OSError as error:
        results.put(error)


def _remaining_s(timeout: float | None, timeout_error: type[Exception]) -> float | None:
    if not isinstance(timeout, Deadline):
        return timeout
    left_s = timeout.ends_at - monotonic()
    if left_s <= 0:
        # A timeout of 0 must not reach the socket: it would become non-blocking and raise another
        # error.
        raise timeout_error("the deadline has passed")
    return left_s
