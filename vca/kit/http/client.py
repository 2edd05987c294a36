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
from vca.kit.http.allowed import Allowed
from vca.kit.http.errors import Refused, Unreachable
from vca.kit.http.line import MAX_BYTES, EnoughRead, Line, connected
from vca.kit.http.names import Names
from vca.kit.http.target import Target
from vca.kit.http.waiting import within

TIMEOUT_S = 15.0
# These say where a message ends and how it comes: the client's alone.
_OURS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)


@dataclass(frozen=True)
class Answer:
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
        allowed: Allowed,
        *,
        names: Names | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._names = names or Names()
        self._context = context

    def check(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Judge a URL as `post` would, and send nothing.

        Raises Refused if it must never be sent to; Unreachable and TooSlow if its name cannot be
        resolved now. It asks the name service: no transaction may be open. `Allowed.read` alone
        asks nobody.
        """
        with within(timeout_s):
            self._judged(url)

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> Answer:
        """Send the body and read the answer, all within `timeout_s`. No transaction may be open.

        Raises Refused, then nobody was connected to; Unreachable and TooSlow, then the other side
        may have received it.
        """
        with within(timeout_s):
            target, addresses = self._judged(url)
            request = _request(target, headers, len(body))
            with closing(connected(addresses, target.port)) as line:
                if target.encrypted:
                    line.encrypt(self._context or _trusted(), target.host)
                return _exchanged(line, request, body)

    def _judged(self, url: str) -> tuple[Target, tuple[Address, ...]]:
        """Where the URL leads and all of its addresses: the only ones that are connected to."""
        target = self._allowed.read(url)
        if target.address is not None:
            return target, (target.address,)
        addresses = self._names.addresses(target.host)
        self._allowed.judge(addresses, target.port)
        return target, addresses


@cache
def _trusted() -> ssl.SSLContext:
    """The system's certificates, read once."""
    return ssl.create_default_context()


def _request(target: Target, headers: Mapping[str, str], length: int) -> h11.Request:
    if not _OURS.isdisjoint(name.lower() for name in headers):
        raise Refused("A header is not the sender's to set.")
    ours = {
        "Host": target.authority,
        "User-Agent": "VCA",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Length": str(length),
    }
    try:
        return h11.Request(
            method="POST", target=target.path, headers=[*ours.items(), *headers.items()]
        )
    except (h11.LocalProtocolError, UnicodeError) as error:
        raise Refused("A header cannot be sent as it is.") from error


def _exchanged(line: Line, request: h11.Request, body: bytes) -> Answer:
    wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_BYTES)
    events = (request, h11.Data(data=body), h11.EndOfMessage())
    line.send(b"".join(wire.send(event) or b"" for event in events))
    head, read, complete = None, bytearray(), True
    try:
        for event in _received(wire, line):
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                read += event.data
    except EnoughRead:
        complete = False
    except h11.RemoteProtocolError as error:
        raise Unreachable("The answer broke off, or is not HTTP.") from error
    if head is None:
        raise Unreachable("The answer has no end to its head.")
    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
    return Answer(head.status_code, headers, bytes(read), complete)


def _received(wire: h11.Connection, line: Line) -> Iterator[h11.Event]:
    """The parts of one answer, to its end."""
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(line.receive())
        elif isinstance(event, h11.InformationalResponse | h11.Response | h11.Data):
            yield event
        else:
            return
