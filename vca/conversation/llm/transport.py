"""HTTP with one deadline for connecting, waiting and reading, however slowly the server sends.

httpx limits each single read, so a server that sends a byte now and then could hold its client for
ever. It would also take several times the CPU time for a streamed answer.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import TypeAlias

import h11
import httpx2

from vca.conversation.llm import cancellation
from vca.conversation.llm.transport_decoding import (
    InvalidResponse,
    ResponseParser,
    ResponseTooLong,
    decompress,
)
from vca.conversation.llm.transport_socket import Deadline, DeadlineSocket

CONNECT_TIMEOUT_S = 3.0
MAX_BYTES = 16 * 1024 * 1024
KEEPALIVE_S = 60.0
_LOST_CONNECTION = (httpx2.ReadError, httpx2.RemoteProtocolError)

AddressLookup: TypeAlias = Callable[[str, int], list[str]]


class NameNotResolved(httpx2.ConnectError):
    """The name server knows no address of the host."""


class DeadlineTransport:
    """Sends requests that differ only in their bodies to one URL, over connections that are reused.

    `template` is the request without its body. Nothing is read from the environment. Responses are
    bounded, also after decompression.
    """

    def __init__(
        self,
        template: httpx2.Request,
        *,
        ssl_context: ssl.SSLContext | None = None,
        lookup: AddressLookup | None = None,
    ) -> None:
        self._url = template.url
        self._head = _head_without_length(template)
        self._ssl_context = ssl_context or _default_ssl_context()
        self._lookup = lookup or lookup_addresses
        self._pool = _ConnectionPool()

    def send(self, body: bytes, deadline: Deadline) -> "Response":
        """Send a request and return the response, whose body is not read yet.

        The deadline is that of the whole exchange, body included, and may be changed while it goes
        on. Raises httpx2.TransportError.
        """
        request = b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)
        connection = None
        use_idle = True
        while True:
            response = Response(deadline, self._pool)
            try:
                connection = self._pool.take() if use_idle else None
                response.start(connection or self._connect(deadline), request)
            except BaseException as error:
                response.close()
                # The server may just have closed the idle connections. It has sent no response, so
                # it is safe to send the request again, on a new connection.
                if connection is None or not isinstance(error, _LOST_CONNECTION):
                    raise
                use_idle = False
            else:
                return response

    def close(self) -> None:
        """Close the idle connections, and those in use when their exchange ends."""
        self._pool.close()

    def _connect(self, deadline: Deadline) -> "_Connection":
        try:
            connect_deadline = Deadline(min(CONNECT_TIMEOUT_S, deadline.remaining_s()))
            opened_socket = self._open_socket(connect_deadline)
            if self._url.scheme != "https":
                return _Connection(opened_socket)
            try:
                opened_socket.settimeout(connect_deadline.remaining_s())
                return _Connection(
                    self._ssl_context.wrap_socket(opened_socket, server_hostname=self._url.host)
                )
            except BaseException:
                opened_socket.close()
                raise
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx2.ConnectError("no connection") from error

    def _open_socket(self, deadline: Deadline) -> socket.socket:
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        failure: OSError = OSError("the name has no address")
        for address in self._resolve(self._url.host, port, deadline):
            try:
                opened_socket = socket.create_connection((address, port), deadline.remaining_s())
            except TimeoutError:
                raise
            except OSError as error:
                failure = error
            else:
                opened_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return opened_socket
        raise failure

    def _resolve(self, host: str, port: int, deadline: Deadline) -> list[str]:
        # getaddrinfo has no timeout and cannot be interrupted, so it runs in a thread that is
        # abandoned on timeout.
        results: SimpleQueue[list[str] | OSError] = SimpleQueue()
        Thread(target=_run_lookup, args=(results, self._lookup, host, port), daemon=True).start()
        try:
            result = results.get(timeout=deadline.remaining_s())
        except Empty:
            raise httpx2.ConnectTimeout("the name was not resolved in time") from None
        if isinstance(result, OSError):
            raise NameNotResolved("the name was not resolved")
        return result


class Response:
    """A response to a request, and what it needs while its body is read.

    Closing it returns the connection to the pool if the body was read to its end.
    """

    def __init__(self, deadline: Deadline, pool: "_ConnectionPool") -> None:
        self._deadline = deadline
        self._pool = pool
        self._cancel_token = cancellation.current_token()
        self._cancel_callback = ExitStack()
        self._connection: _Connection | None = None
        self._parser = ResponseParser()
        self._first_data = b""
        self._encoding = ""
        if self._cancel_token is not None and self._cancel_token.cancelled:
            raise httpx2.ReadTimeout("cancelled")

    @property
    def status(self) -> int:
        """The status code."""
        return self._parser.status

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the decompressed response, with names in lower case."""
        return self._parser.headers

    def start(self, connection: "_Connection", request: bytes) -> None:
        """Send the request and read until the headers have arrived."""
        self._connection = connection
        connection.socket.deadline = self._deadline
        if self._cancel_token is not None:
            self._cancel_callback.enter_context(
                self._cancel_token.on_cancel(connection.socket.shut_down)
            )
        with self._translate_errors():
            # A server may refuse a request before it has read all of it.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.socket.send(request)
            while not self._parser.status:
                self._first_data = self._parser.feed(connection.socket.receive())
        # We request identity encoding; a server that compresses anyway is read here, within bounds.
        self._encoding = self.headers.pop("content-encoding", "").strip().lower()

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the data of the body as it arrives. Raises httpx2.TransportError."""
        data = self._read_body()
        if self._encoding in ("", "identity"):
            return data
        return decompress(data, self._encoding, max_bytes=MAX_BYTES)

    def close(self) -> None:
        """Close the connection, or return it to the pool."""
        self._cancel_callback.close()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._parser.is_complete and self._parser.is_reusable:
            self._pool.put(connection)
        else:
            connection.socket.close()
        self._parser.close()

    def _read_body(self) -> Iterator[bytes]:
        assert self._connection is not None
        receive = self._connection.socket.receive
        data, size = self._first_data, 0
        with self._translate_errors():
            while True:
                size += len(data)
                if size > MAX_BYTES:
                    raise ResponseTooLong("the answer is too long")
                if data:
                    yield data
                if self._parser.is_complete:
                    return
                data = self._parser.feed(receive())

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, InvalidResponse) as error:
            if self._cancel_token is not None and self._cancel_token.cancelled:
                raise httpx2.ReadTimeout("cancelled") from error
            if isinstance(error, TimeoutError):
                raise httpx2.ReadTimeout("no answer in time") from error
            if isinstance(error, InvalidResponse):
                raise httpx2.RemoteProtocolError("no valid HTTP response") from error
            raise httpx2.ReadError("the connection was lost") from error


class _Connection:
    """An open connection to the server."""

    def __init__(self, opened_socket: socket.socket) -> None:
        self.socket = DeadlineSocket(opened_socket)
        self.idle_since = 0.0

    def is_old(self) -> bool:
        """Return whether nothing has used an idle connection for a while."""
        return monotonic() - self.idle_since > KEEPALIVE_S

    def is_usable(self) -> bool:
        """Return whether an idle connection is neither old nor closed by the server."""
        return not self.is_old() and not self.socket.is_readable()


class _ConnectionPool:
    """The idle connections, used again last in, first out, so that those of a peak grow old."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[_Connection] = []
        self._is_closed = False

    def take(self) -> _Connection | None:
        """Return an idle connection, or None; closes those that went stale."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.socket.close()

    def put(self, connection: _Connection) -> None:
        """Keep a connection for the next request, and close those that nothing has used."""
        connection.idle_since = monotonic()
        with self._lock:
            if self._is_closed:
                unused = [connection]
            else:
                unused = [idle for idle in self._idle if idle.is_old()]
                self._idle = [idle for idle in self._idle if idle not in unused] + [connection]
        for idle in unused:
            idle.socket.close()

    def close(self) -> None:
        """Close the idle connections, and those in use when their exchange ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.socket.close()


def _head_without_length(template: httpx2.Request) -> bytes:
    """Return the first line and the headers of all requests, without the length of their bodies.

    Raises h11.LocalProtocolError if a header has characters that HTTP does not allow.
    """
    request = h11.Request(
        method=template.method, target=template.url.raw_path, headers=template.headers.raw
    )
    head = h11.Connection(h11.CLIENT).send(request)
    assert head is not None
    return head.removesuffix(b"\r\n")


@cache
def _default_ssl_context() -> ssl.SSLContext:
    """Return the TLS context with the system's certificates, which are read once."""
    return httpx2.create_ssl_context(trust_env=False)


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
    except UnicodeError:  # an empty label, or one that is too long
        results.put(OSError("the name is not valid"))
