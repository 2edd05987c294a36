"""The one client for URLs that tenants give: one request, one connection, one answer.

It follows no redirect, knows no proxy, no netrc and no cookie, and decompresses nothing, because
nothing in it does: h11 reads and writes what goes over a socket that is opened here.
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
# These say where a message ends and how it comes: the client's alone.
_RESERVED_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)


@dataclass(frozen=True)
class HttpResponse:
    """What came back, a redirect too; names of headers are in lower case.

    `complete` is False where the body went on beyond what is read: MAX_BYTES with head and all.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True


class OutgoingClient:
    """Sends to where it is allowed; shared by threads, connects for each request."""

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
        """Judge a URL as `post` would, and send nothing.

        Raises Refused if it must never be sent to; Unreachable and TooSlow if its name cannot be
        resolved now. It asks the name service: no transaction may be open. `Allowed.read` alone
        asks nobody.
        """
        with request_deadline(timeout_s):
            self._resolve(url)

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> HttpResponse:
        """Send the body and read the answer, all within `timeout_s`. No transaction may be open.

        Raises Refused, then nobody was connected to; Unreachable and TooSlow, then the other side
        may have received it.
        """
        with request_deadline(timeout_s):
            target, addresses = self._resolve(url)
            request = _build_request(target, headers, len(body))
            with closing(connect(addresses, target.port)) as connection:
                if target.uses_tls:
                    connection.start_tls(self._tls_context or _system_tls_context(), target.host)
                return _exchange(connection, request, body)

    def _resolve(self, url: str) -> tuple[ParsedUrl, tuple[Address, ...]]:
        """Where the URL leads and all of its addresses: the only ones that are connected to."""
        target = self._policy.parse_url(url)
        if target.address is not None:
            return target, (target.address,)
        addresses = self._resolver.resolve(target.host)
        self._policy.check_addresses(addresses, target.port)
        return target, addresses


@cache
def _system_tls_context() -> ssl.SSLContext:
    """The system's certificates, read once."""
    return ssl.create_default_context()


def _build_request(target: ParsedUrl, headers: Mapping[str, str], body_length: int) -> h11.Request:
    if not _RESERVED_HEADERS.isdisjoint(name.lower() for name in headers):
        raise RequestForbidden("A header is not the sender's to set.")
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
        raise RequestForbidden("A header cannot be sent as it is.") from error


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
        raise Unreachable("The answer broke off, or is not HTTP.") from error
    if response is None:
        raise Unreachable("The answer has no end to its head.")
    headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
    return HttpResponse(response.status_code, headers, bytes(response_body), complete)


def _read_events(protocol: h11.Connection, connection: Connection) -> Iterator[h11.Event]:
    """The parts of one answer, to its end."""
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            protocol.receive_data(connection.receive())
        elif isinstance(event, h11.InformationalResponse | h11.Response | h11.Data):
            yield event
        else:
            return
