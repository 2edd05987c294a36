"""HTTP with one deadline for connecting, waiting and reading, however slowly the server sends.

It takes the place of httpx's own transport, which limits each single read, so that a server that
sends a byte now and then could hold its client for ever. Python's own client reads a streamed
answer at a third of the CPU time.
"""

import http.client
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeAlias

import httpx2
from typing_extensions import override

from vca.conversation.llm import cancellation
from vca.conversation.llm.transport_decoding import ChunkDecoder, ResponseTooLong, decompress
from vca.conversation.llm.transport_socket import READ_BYTES, Deadline, DeadlineSocket

MAX_BYTES = 16 * 1024 * 1024
KEEPALIVE_S = 60.0
_LOST_CONNECTION = (httpx2.ReadError, httpx2.RemoteProtocolError)

AddressLookup: TypeAlias = Callable[[str, int], list[str]]


class NameNotResolved(httpx2.ConnectError):
    """The name server knows no address of the host."""


class DeadlineTransport(httpx2.BaseTransport):
    """Uses a request's `read` timeout as the deadline of the whole exchange, body included.

    A `Deadline` can be passed as that timeout and changed while the exchange goes on. Connections
    are reused. Nothing is read from the environment. Bodies are bounded, also after decompression.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        lookup: AddressLookup | None = None,
    ) -> None:
        self._ssl_context = ssl_context or _default_ssl_context()
        self._lookup = lookup or lookup_addresses
        self._pool = _ConnectionPool()

    @override
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        timeouts = request.extensions["timeout"]
        read_timeout = timeouts["read"]
        deadline = read_timeout if isinstance(read_timeout, Deadline) else Deadline(read_timeout)
        connect_timeout_s = timeouts["connect"]
        connection = None
        use_idle = True
        while True:
            exchange = _Exchange(deadline, self._pool)
            try:
                connection = self._pool.take(request.url) if use_idle else None
                return exchange.start(
                    connection or self._connect(request.url, min(connect_timeout_s, deadline)),
                    request,
                )
            except BaseException as error:
                exchange.close()
                # The server may just have closed the idle connections. It has sent no response, so
                # it is safe to send the request again, on a new connection.
                if connection is None or not isinstance(error, _LOST_CONNECTION):
                    raise
                use_idle = False

    @override
    def close(self) -> None:
        self._pool.close()

    def _connect(self, url: httpx2.URL, timeout_s: float) -> "_Connection":
        deadline = Deadline(timeout_s)
        try:
            opened_socket = self._open_socket(url, deadline)
            if url.scheme != "https":
                return _Connection(url, opened_socket)
            try:
                opened_socket.settimeout(deadline.remaining_s())
                return _Connection(
                    url, self._ssl_context.wrap_socket(opened_socket, server_hostname=url.host)
                )
            except BaseException:
                opened_socket.close()
                raise
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx2.ConnectError("no connection") from error

    def _open_socket(self, url: httpx2.URL, deadline: Deadline) -> socket.socket:
        port = url.port or _default_port(url)
        failure: OSError = OSError("the name has no address")
        for address in self._resolve(url.host, port, deadline):
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


@cache
def _default_ssl_context() -> ssl.SSLContext:
    """Return the TLS context with the system's certificates, which are read once."""
    return httpx2.create_ssl_context(trust_env=False)


class _Connection(http.client.HTTPConnection):
    """A connection to one server, whose waits end with the deadline of the current exchange."""

    def __init__(self, url: httpx2.URL, opened_socket: socket.socket) -> None:
        super().__init__(url.host, url.port or _default_port(url))
        self.auto_open = 0
        self.origin = _origin(url)
        self.deadline_socket = DeadlineSocket(opened_socket)
        self.sock: Any = self.deadline_socket
        self.idle_since = 0.0

    def disconnect(self) -> None:
        """Close the socket."""
        self.deadline_socket.socket.close()

    def is_old(self) -> bool:
        """Return whether nothing has used an idle connection for a while."""
        return monotonic() - self.idle_since > KEEPALIVE_S

    def is_usable(self) -> bool:
        """Return whether an idle connection is neither old nor closed by the server."""
        if self.is_old():
            return False
        poll = select.poll()
        poll.register(self.deadline_socket.socket, select.POLLIN)
        return not poll.poll(0)


class _ConnectionPool:
    """The idle connections, used again last in, first out, so that those of a peak grow old."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[_Connection] = []
        self._is_closed = False

    def take(self, url: httpx2.URL) -> _Connection | None:
        """Return an idle connection to the URL's server, or None; closes those that went stale."""
        while True:
            with self._lock:
                position = next(
                    (
                        position
                        for position in reversed(range(len(self._idle)))
                        if self._idle[position].origin == _origin(url)
                    ),
                    None,
                )
                if position is None:
                    return None
                connection = self._idle.pop(position)
            if connection.is_usable():
                return connection
            connection.disconnect()

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
            idle.disconnect()

    def close(self) -> None:
        """Close the idle connections, and those in use when their exchange ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.disconnect()


class _Exchange(httpx2.SyncByteStream):
    """One request with its response; as a stream, the body of the response.

    Closing it returns the connection to the pool if the body was read to its end.
    """

    def __init__(self, deadline: Deadline, pool: _ConnectionPool) -> None:
        self._deadline = deadline
        self._pool = pool
        self._cancel_token = cancellation.current_token()
        self._cancel_callback = ExitStack()
        self._connection: _Connection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._encoding = "identity"
        self._is_read = False
        if self._cancel_token is not None and self._cancel_token.cancelled:
            raise httpx2.ReadTimeout("cancelled")

    def start(self, connection: _Connection, request: httpx2.Request) -> httpx2.Response:
        """Send the request and return the response, whose body is not read yet."""
        self._connection = connection
        connection.deadline_socket.deadline = self._deadline
        if self._cancel_token is not None:
            self._cancel_callback.enter_context(
                self._cancel_token.on_cancel(connection.deadline_socket.shut_down)
            )
        with self._translate_errors():
            # A server may refuse a request before it has read all of it.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    request.method,
                    request.url.raw_path.decode("ascii"),
                    request.read(),
                    dict(request.headers),
                )
            self._response = connection.getresponse()
        headers = httpx2.Headers(
            [
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in self._response.getheaders()
            ]
        )
        # We request identity encoding; a server that compresses anyway is read here, within bounds.
        self._encoding = headers.pop("content-encoding", "identity").strip().lower()
        return httpx2.Response(self._response.status, headers=headers, stream=self)

    def __iter__(self) -> Iterator[bytes]:
        data = self._read_body()
        return (
            data
            if self._encoding in ("", "identity")
            else decompress(data, self._encoding, max_bytes=MAX_BYTES)
        )

    def _read_body(self) -> Iterator[bytes]:
        assert self._response is not None
        size = 0
        with self._translate_errors():
            for data in self._read_parts(self._response):
                size += len(data)
                if size > MAX_BYTES:
                    raise ResponseTooLong("the answer is too long")
                yield data

    def _read_parts(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        if response.chunked:
            yield from self._read_chunks(response)
            return
        # A body whose length is known before it is sent is not a stream. Python 3.11 does not count
        # what `read1` has read of it.
        read = response.read1 if response.length is None else response.read
        while data := read(READ_BYTES):
            yield data
        self._is_read = True

    def _read_chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        assert self._connection is not None
        file = self._connection.deadline_socket.file
        decoder = ChunkDecoder()
        while not decoder.is_complete:
            received = file.read1(READ_BYTES)
            if not received:
                raise http.client.IncompleteRead(b"")
            if data := decoder.feed(received):
                yield data
        response.close()  # only then does the connection accept the next request
        self._is_read = not decoder.has_excess

    @override
    def close(self) -> None:
        self._cancel_callback.close()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._is_read and self._response is not None and not self._response.will_close:
            self._pool.put(connection)
        else:
            connection.disconnect()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._cancel_token is not None and self._cancel_token.cancelled:
                raise httpx2.ReadTimeout("cancelled") from error
            if isinstance(error, TimeoutError):
                raise httpx2.ReadTimeout("no answer in time") from error
            if isinstance(error, http.client.HTTPException | ValueError):
                raise httpx2.RemoteProtocolError("no valid HTTP response") from error
            raise httpx2.ReadError("the connection was lost") from error


def _default_port(url: httpx2.URL) -> int:
    return 443 if url.scheme == "https" else 80


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


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
