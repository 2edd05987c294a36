"""HTTP to a model server, with one deadline for connecting, waiting and reading.

The connections are those of `vca.kit.http`. The responses have a parser of their own, because
httpcore takes several times the CPU time for a streamed answer.
"""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

import h11
import httpcore2
import httpx2

from vca.conversation.llm import cancellation
from vca.conversation.llm.transport_decoding import (
    InvalidResponse,
    ResponseParser,
    ResponseTooLong,
    decompress,
)
from vca.kit.deadline import Deadline
from vca.kit.http.errors import ResponseTooLarge
from vca.kit.http.network import GuardedBackend, GuardedStream
from vca.kit.http.policy import OperatorPolicy
from vca.kit.http.pool import StreamPool
from vca.kit.http.resolver import Resolver

CONNECT_TIMEOUT_S = 3.0
MAX_BYTES = 16 * 1024 * 1024
# A connection lasts from one turn of a call to the next. The name of the operator's own server is
# resolved for new connections only.
KEEPALIVE_S = 60.0
_LOST_CONNECTION = (httpx2.ReadError, httpx2.RemoteProtocolError)


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
        resolver: Resolver | None = None,
    ) -> None:
        self._url = template.url
        self._head = _head_without_length(template)
        self._ssl_context = ssl_context or _default_ssl_context()
        # Not the resolver of tenants' URLs, whose look-ups may all be waiting for a name server.
        self._backend = GuardedBackend(OperatorPolicy(), resolver or Resolver())
        self._pool = StreamPool(max_idle_s=KEEPALIVE_S)

    def send(self, body: bytes, deadline: Deadline) -> "Response":
        """Send a request and return the response, whose body is not read yet.

        The deadline is that of the whole exchange, body included. Raises httpx2.TransportError.
        """
        request = b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)
        stream = None
        use_idle = True
        while True:
            response = Response(self._pool)
            try:
                stream = self._pool.take(None) if use_idle else None
                response.start(stream or self._connect(deadline), request, deadline)
            except BaseException as error:
                response.close()
                # The server may just have closed the idle connections. It has sent no response, and
                # asking a model twice has no effect but its price, so the request is sent again, on
                # a new connection.
                if stream is None or not isinstance(error, _LOST_CONNECTION):
                    raise
                use_idle = False
            else:
                return response

    def close(self) -> None:
        """Close the idle connections, and those in use when their exchange ends."""
        self._pool.close()

    def _connect(self, deadline: Deadline) -> GuardedStream:
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        connect_deadline = deadline.shortened(CONNECT_TIMEOUT_S)
        try:
            stream = self._backend.connect_tcp(self._url.host, port, connect_deadline.remaining_s)
            if self._url.scheme == "https":
                stream.start_tls(self._ssl_context, self._url.host, connect_deadline.remaining_s)
        except httpcore2.TimeoutException as error:
            raise httpx2.ConnectTimeout("no connection in time") from error
        except httpcore2.NetworkError as error:
            raise httpx2.ConnectError("no connection") from error
        return stream


class Response:
    """A response to a request, and what it needs while its body is read.

    Closing it returns the connection to the pool if the body was read to its end.
    """

    def __init__(self, pool: StreamPool) -> None:
        self._pool = pool
        self._cancel_token = cancellation.current_token()
        self._cancel_callback = ExitStack()
        self._stream: GuardedStream | None = None
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

    @property
    def stream(self) -> GuardedStream:
        """The connection, whose deadline may be changed while the body is read."""
        assert self._stream is not None
        return self._stream

    def start(self, stream: GuardedStream, request: bytes, deadline: Deadline) -> None:
        """Send the request and read until the headers have arrived."""
        self._stream = stream
        stream.begin_exchange(deadline, max_bytes=MAX_BYTES)
        if self._cancel_token is not None:
            self._cancel_callback.enter_context(self._cancel_token.on_cancel(stream.shut_down))
        with self._translate_errors():
            # A server may refuse a request before it has read all of it.
            with suppress(BrokenPipeError, ConnectionResetError):
                stream.send(request)
            while not self._parser.status:
                self._first_data = self._parser.feed(stream.receive())
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
        stream, self._stream = self._stream, None
        if stream is None:
            return
        if self._parser.is_complete and self._parser.is_reusable:
            self._pool.put(None, stream)
        else:
            stream.close()
        self._parser.close()

    def _read_body(self) -> Iterator[bytes]:
        receive = self.stream.receive
        data = self._first_data
        with self._translate_errors():
            while True:
                if data:
                    yield data
                if self._parser.is_complete:
                    return
                data = self._parser.feed(receive())

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except ResponseTooLarge as error:
            raise ResponseTooLong("the answer is too long") from error
        except (OSError, InvalidResponse) as error:
            if self._cancel_token is not None and self._cancel_token.cancelled:
                raise httpx2.ReadTimeout("cancelled") from error
            if isinstance(error, TimeoutError):
                raise httpx2.ReadTimeout("no answer in time") from error
            if isinstance(error, InvalidResponse):
                raise httpx2.RemoteProtocolError("no valid HTTP response") from error
            raise httpx2.ReadError("the connection was lost") from error


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
