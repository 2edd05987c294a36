"""The HTTP transport of model clients: TLS, slow name resolution and compressed responses."""

import gzip
import ssl
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import h11
import httpx2
import pytest

from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import openai_server
from vca.conversation.llm.transport import (
    MAX_BYTES,
    DeadlineTransport,
)
from vca.conversation.llm.transport_decoding import ResponseTooLong
from vca.kit.deadline import Deadline
from vca.kit.http import Resolver
from vca.kit.http.errors import NameNotResolved

CERTIFICATE = Path(openai_behaviours.__file__).with_name("localhost.pem")


def request_to(url: str) -> httpx2.Request:
    request = httpx2.Request("POST", url, headers={"authorization": "Bearer sk-4711"})
    del request.headers["content-length"]
    return request


@contextmanager
def transport_to(url: str, **options: Any) -> Iterator[DeadlineTransport]:
    with closing(DeadlineTransport(request_to(url), **options)) as transport:
        yield transport


def send(transport: DeadlineTransport, *, timeout_s: float = 5.0) -> bytes:
    """Send a request and return the body of its response."""
    with closing(transport.send(b"{}", Deadline.after(timeout_s))) as response:
        return response.read()


def send_encrypted(behaviour: Any, *, timeout_s: float) -> bytes:
    """Send a request to a server that behaves like this, and return the body of its response."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    client_context = ssl.create_default_context(cafile=str(CERTIFICATE))
    with (
        openai_server(context) as server,
        transport_to(server.url, ssl_context=client_context) as transport,
    ):
        server.set_behaviours(behaviour)
        return send(transport, timeout_s=timeout_s)


def test_an_encrypted_response_is_read() -> None:
    assert b"Hello" in send_encrypted(openai_behaviours.ok, timeout_s=5.0)


def test_a_slow_encrypted_response_ends_at_the_deadline() -> None:
    started_at = monotonic()

    with pytest.raises(httpx2.ReadTimeout):
        send_encrypted(openai_behaviours.drip_body, timeout_s=0.5)

    assert monotonic() - started_at < 5


def test_a_server_with_an_unknown_certificate_is_rejected() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    with (
        openai_server(context) as server,
        transport_to(server.url) as transport,
        pytest.raises(httpx2.ConnectError),
    ):
        send(transport)


COMPRESSED_BODIES = {
    "gzip": gzip.compress(b"x" * 1_000_000),
    "x-gzip": gzip.compress(b"x" * 500_000) + gzip.compress(b"x" * 500_000),
    "deflate": zlib.compress(b"x" * 1_000_000),
    "Deflate": zlib.compress(b"x" * 1_000_000, wbits=-15),
}


def send_compressed(encoding: str, *parts: bytes) -> Any:
    def send(handler: Any) -> None:
        handler.begin_response(content_encoding=encoding)
        for part in parts:
            handler.send_chunk(part)
        handler.send_chunk(b"")

    return send


@pytest.mark.parametrize("encoding", COMPRESSED_BODIES)
def test_a_compressed_response_is_decompressed(encoding: str) -> None:
    body = COMPRESSED_BODIES[encoding]
    parts = [body[start : start + 100] for start in range(0, len(body), 100)]

    content = send_encrypted(send_compressed(encoding, *parts), timeout_s=5.0)

    assert content == b"x" * 1_000_000


def test_a_decompression_bomb_is_not_read() -> None:
    bomb = gzip.compress(b"x" * (MAX_BYTES + 1))

    with pytest.raises(ResponseTooLong):
        send_encrypted(send_compressed("gzip", bomb), timeout_s=20.0)


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"\x1fnot gzip"), ("br", b"x")])
def test_a_body_that_cannot_be_decompressed_is_an_error(encoding: str, body: bytes) -> None:
    with pytest.raises(httpx2.DecodingError):
        send_encrypted(send_compressed(encoding, body), timeout_s=5.0)


def test_a_body_with_a_length_is_read() -> None:
    body = b"x" * 200_000

    def send_with_length(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    assert send_encrypted(send_with_length, timeout_s=5.0) == body


def test_a_body_that_ends_with_the_connection_is_read() -> None:
    def send_until_closed(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.wfile.write(b"all of it")
        handler.close_connection = True

    assert send_encrypted(send_until_closed, timeout_s=5.0) == b"all of it"


def test_a_connection_is_used_again_unless_the_server_closes_it() -> None:
    with openai_server() as server, transport_to(server.url) as transport:
        server.set_behaviours(
            openai_behaviours.ok, openai_behaviours.ok_then_close, openai_behaviours.ok
        )
        for _ in range(2):
            send(transport)
        assert server.accepted_count == 1
        assert server.wait_all_closed()

        send(transport)

        assert server.accepted_count == 2


def test_a_connection_is_not_used_again_after_unexpected_data() -> None:
    def send_too_much(handler: Any) -> None:
        handler.begin_response()
        handler.send_texts("Hello")
        handler.wfile.write(b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with openai_server() as server, transport_to(server.url) as transport:
        server.set_behaviours(send_too_much, openai_behaviours.ok)

        for _ in range(2):
            assert b"Hello" in send(transport)

        assert server.accepted_count == 2


def test_name_resolution_that_hangs_ends_at_the_deadline() -> None:
    release = Event()
    started_at = monotonic()

    with (
        transport_to(
            "http://example.com/", resolver=Resolver(lambda host: [str(release.wait(10))])
        ) as transport,
        pytest.raises(httpx2.ConnectTimeout),
    ):
        send(transport, timeout_s=0.3)

    assert monotonic() - started_at < 5
    release.set()


def test_connecting_to_an_unknown_name_raises_a_connect_error() -> None:
    def fail_to_resolve(host: str) -> list[str]:
        raise OSError("Name or service not known")

    with (
        transport_to("http://example.com/", resolver=Resolver(fail_to_resolve)) as transport,
        pytest.raises(httpx2.ConnectError) as error_info,
    ):
        send(transport)

    assert error_info.value.__cause__ is not None
    assert isinstance(error_info.value.__cause__.__cause__, NameNotResolved)


def test_the_next_address_is_tried_after_a_refused_connection() -> None:
    addresses = ["127.0.0.2", "127.0.0.1"]
    with (
        openai_server() as server,
        transport_to(
            f"http://example.com:{server.server_port}/", resolver=Resolver(lambda host: addresses)
        ) as transport,
    ):
        assert b"Hello" in send(transport)


def test_a_header_that_http_does_not_allow_is_refused() -> None:
    request = request_to("http://example.com/")
    request.headers["authorization"] = "Bearer one\r\nHost: other.example"

    with pytest.raises(h11.LocalProtocolError):
        DeadlineTransport(request)
