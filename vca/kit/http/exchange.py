"""One request and its response over a guarded connection, encoded and decoded by httpcore.

Importing this module imports httpcore, which takes a tenth of a second. Only `client` imports it,
on first use.
"""

import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import h11
import httpcore2

from vca.kit.addresses import Address
from vca.kit.deadline import Deadline
from vca.kit.http.errors import RequestForbidden, RequestTimeout, ResponseTooLarge, Unreachable
from vca.kit.http.messages import HttpRequest, HttpResponse
from vca.kit.http.network import GuardedStream, connect_to

# At level DEBUG it writes the headers of every exchange, which have signatures.
logging.getLogger("httpcore2").setLevel(logging.WARNING)

# These headers delimit or describe the message, so only the client sets them.
_RESERVED_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    }
)


def encode_request(request: HttpRequest) -> httpcore2.Request:
    """Return the request with all of its headers; raises RequestForbidden if it is not valid."""
    if not _RESERVED_HEADERS.isdisjoint(name.lower() for name in request.headers):
        raise RequestForbidden("A header that only the client may set was given.")
    fixed_headers = {
        "Host": request.target.authority,
        "User-Agent": "VCA",
        "Accept-Encoding": "identity",
        **({} if request.keeps_connection else {"Connection": "close"}),
        **({"Content-Length": str(len(request.body))} if request.has_body else {}),
    }
    headers = [*fixed_headers.items(), *request.headers.items()]
    try:
        # httpcore would report an invalid header only after it has connected.
        h11.Request(method=request.method, target=request.target.path, headers=headers)
    except (h11.LocalProtocolError, UnicodeError) as error:
        raise RequestForbidden("The method or a header is not valid.") from error
    url = httpcore2.URL(
        scheme=request.target.scheme,
        host=request.target.host,
        port=request.target.port,
        target=request.target.path,
    )
    return httpcore2.Request(request.method, url, headers=headers, content=request.body)


def connect(
    request: HttpRequest,
    addresses: Sequence[Address],
    deadline: Deadline,
    tls_context: ssl.SSLContext | None,
) -> GuardedStream:
    """Connect to the first of the addresses that accepts the connection; raises Unreachable."""
    target = request.target
    with _translate_errors():
        stream = connect_to(addresses, target.port, deadline)
        if target.uses_tls:
            context = tls_context or _system_tls_context()
            stream.start_tls(context, target.host, deadline.remaining_s)
        return stream


def exchange(
    encoded_request: httpcore2.Request, stream: GuardedStream, deadline: Deadline, *, max_bytes: int
) -> tuple[HttpResponse, bool]:
    """Send the request; return the response, and whether the connection accepts another request.

    The connection is closed if it does not. Raises Unreachable.
    """
    stream.begin_exchange(deadline, max_bytes=max_bytes)
    connection = httpcore2.HTTP11Connection(encoded_request.url.origin, stream)
    try:
        with _translate_errors():
            response = _read_response(connection.handle_request(encoded_request))
        return response, connection.is_idle()
    except ResponseTooLarge:
        raise Unreachable("The response header is too large.") from None


def _read_response(response: httpcore2.Response) -> HttpResponse:
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}
    body, complete = bytearray(), True
    try:
        for part in response.iter_stream():
            body += part
    except ResponseTooLarge:
        complete = False
    finally:
        response.close()
    return HttpResponse(response.status, headers, bytes(body), complete)


@cache
def _system_tls_context() -> ssl.SSLContext:
    """Return a TLS context with the system's certificates, which are read once."""
    return ssl.create_default_context()


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise RequestTimeout("The request timed out.") from error
    except httpcore2.ProtocolError as error:
        raise Unreachable("The response is incomplete or is not valid HTTP.") from error
    except httpcore2.NetworkError as error:
        raise Unreachable(_failure_text(error.__cause__)) from error


def _failure_text(cause: BaseException | None) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"The TLS certificate was rejected: {cause.verify_message}."
    if isinstance(cause, ssl.SSLError):
        return "The TLS connection failed."
    reason = cause.strerror if isinstance(cause, OSError) else None
    return f"The connection failed: {reason or 'it was closed'}."
