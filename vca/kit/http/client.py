"""The HTTP client for URLs that tenants supply: one connection, one request and one response.

It follows no redirects, uses no proxy, no netrc and no cookies, and decompresses nothing: it has no
code for any of them. h11 encodes and decodes the bytes of a socket that is opened here.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache

import h11

from vca.kit.addresses import Address
from vca.kit.http.connection import MAX_BYTES, Connection, ResponseTooLarge, connect
from vca.kit.http.deadline import request_deadline
from vca.kit.http.errors import RequestForbidden, Unreachable
from vca.kit.http.policy import UrlPolicy
from vca.kit.http.resolver import Resolver
from vca.kit.http.urls import ParsedUrl

TIMEOUT_S = 15.0
# These headers delimit or describe the message, so only the client sets them.
_RESERVED_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)


@dataclass(frozen=True)
class HttpResponse:
    """A response, also a redirect; header names are in lower case.

    `complete` is false if the body was cut off: at most MAX_BYTES are read, including the header.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True


class OutgoingClient:
    """Sends requests that the policy allows; thread-safe; opens a connection for each request."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        resolver: Resolver | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._resolver = resolver or Resolver()
        self._tls_context = tls_context

    def check(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Check a URL as `post` does, without sending anything.

        Raises RequestForbidden if requests to the URL are not allowed, and Unreachable or
        RequestTimeout if its name cannot be resolved now. It queries DNS, so no transaction may be
        open. `UrlPolicy.parse_url` does not use the network.
        """
        with request_deadline(timeout_s):
            self._resolve(url)

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> HttpResponse:
        """Send the body and read the response within `timeout_s`. No transaction may be open.

        Raises RequestForbidden, before any connection is opened. Raises Unreachable and
        RequestTimeout; then the receiver may have processed the request.
        """
        with request_deadline(timeout_s):
            target, addresses = self._resolve(url)
            request = _build_request(target, headers, len(body))
            with closing(connect(addresses, target.port)) as connection:
                if target.uses_tls:
                    connection.start_tls(self._tls_context or _system_tls_context(), target.host)
                return _exchange(connection, request, body)

    def _resolve(self, url: str) -> tuple[ParsedUrl, tuple[Address, ...]]:
        """Return the parsed URL and all of its addresses, the only ones to connect to."""
        target = self._policy.parse_url(url)
        if target.address is not None:
            return target, (target.address,)
        addresses = self._resolver.resolve(target.host)
        self._policy.check_addresses(addresses, target.port)
        return target, addresses


@cache
def _system_tls_context() -> ssl.SSLContext:
    """Return a TLS context with the system's certificates, which are read once."""
    return ssl.create_default_context()


def _build_request(target: ParsedUrl, headers: Mapping[str, str], body_length: int) -> h11.Request:
    if not _RESERVED_HEADERS.isdisjoint(name.lower() for name in headers):
        raise RequestForbidden("A header that only the client may set was given.")
    fixed_headers = {
        "Host": target.authority,
        "User-Agent": "VCA",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Length": str(body_length),
    }
    try:
        return h11.Request(
            method="POST", target=target.path, headers=[*fixed_headers.items(), *headers.items()]
        )
    except (h11.LocalProtocolError, UnicodeError) as error:
        raise RequestForbidden("A header is not valid.") from error


def _exchange(connection: Connection, request: h11.Request, body: bytes) -> HttpResponse:
    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_BYTES)
    events = (request, h11.Data(data=body), h11.EndOfMessage())
    connection.send(b"".join(protocol.send(event) or b"" for event in events))
    response, response_body, complete = None, bytearray(), True
    try:
        for event in _read_events(protocol, connection):
            if isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                response_body += event.data
    except ResponseTooLarge:
        complete = False
    except h11.RemoteProtocolError as error:
        raise Unreachable("The response is incomplete or is not valid HTTP.") from error
    if response is None:
        raise Unreachable("The response header is too large.")
    headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
    return HttpResponse(response.status_code, headers, bytes(response_body), complete)


def _read_events(protocol: h11.Connection, connection: Connection) -> Iterator[h11.Event]:
    """Yield the parts of one response until it ends."""
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            protocol.receive_data(connection.receive())
        elif isinstance(event, h11.InformationalResponse | h11.Response | h11.Data):
            yield event
        else:
            return
