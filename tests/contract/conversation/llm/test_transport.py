"""The HTTP transport of model clients: TLS, slow name resolution and compressed responses."""

import gzip
import ssl
import zlib
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpx2
import pytest

from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import openai_server
from vca.conversation.llm.transport import (
    MAX_BYTES,
    DeadlineTransport,
    NameNotResolved,
)
from vca.conversation.llm.transport_decoding import ResponseTooLong

CERTIFICATE = Path(openai_behaviours.__file__).with_name("localhost.pem")


def post(url: str, *, timeout_s: float) -> httpx2.Response:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    with httpx2.Client(
        transport=DeadlineTransport(ssl_context=context), timeout=timeout_s
    ) as client:
        return client.post(url, json={})


def post_to_server(behaviour: Any, *, timeout_s: float) -> httpx2.Response:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    with openai_server(context) as server:
        server.set_behaviours(behaviour)
        return post(server.url, timeout_s=timeout_s)


def test_an_encrypted_response_is_read() -> None:
    assert "Hello" in post_to_server(openai_behaviours.ok, timeout_s=5.0).text


def test_a_slow_encrypted_response_ends_at_the_deadline() -> None:
    started_at = monotonic()

    with pytest.raises(httpx2.ReadTimeout):
        post_to_server(openai_behaviours.drip_body, timeout_s=0.5)

    assert monotonic() - started_at < 5


def test_a_server_with_an_unknown_certificate_is_rejected() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    with (
        openai_server(context) as server,
        httpx2.Client(transport=DeadlineTransport(), timeout=5.0) as client,
        pytest.raises(httpx2.ConnectError),
    ):
        client.post(server.url, json={})


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

    response = post_to_server(send_compressed(encoding, *parts), timeout_s=5.0)

    assert response.content == b"x" * 1_000_000


def test_a_decompression_bomb_is_not_read() -> None:
    bomb = gzip.compress(b"x" * (MAX_BYTES + 1))

    with pytest.raises(ResponseTooLong):
        post_to_server(send_compressed("gzip", bomb), timeout_s=20.0)


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"\x1fnot gzip"), ("br", b"x")])
def test_a_body_that_cannot_be_decompressed_is_an_error(encoding: str, body: bytes) -> None:
    with pytest.raises(httpx2.DecodingError):
        post_to_server(send_compressed(encoding, body), timeout_s=5.0)


def test_a_body_with_a_length_is_read() -> None:
    body = b"x" * 200_000

    def send_with_length(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    assert post_to_server(send_with_length, timeout_s=5.0).content == body


def test_a_body_that_ends_with_the_connection_is_read() -> None:
    def send_until_closed(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.wfile.write(b"all of it")
        handler.close_connection = True

    assert post_to_server(send_until_closed, timeout_s=5.0).content == b"all of it"


def test_a_connection_is_used_again_unless_the_server_closes_it() -> None:
    with (
        openai_server() as server,
        httpx2.Client(transport=DeadlineTransport(), timeout=5.0) as client,
    ):
        server.set_behaviours(
            openai_behaviours.ok, openai_behaviours.ok_then_close, openai_behaviours.ok
        )
        for _ in range(2):
            client.post(server.url, json={})
        assert server.accepted_count == 1
        assert server.wait_all_closed()

        client.post(server.url, json={})

        assert server.accepted_count == 2


def test_name_resolution_that_hangs_ends_at_the_deadline() -> None:
    release = Event()
    transport = DeadlineTransport(lookup=lambda host, port: [str(release.wait(10))])
    started_at = monotonic()

    with (
        httpx2.Client(transport=transport, timeout=0.3) as client,
        pytest.raises(httpx2.ConnectTimeout),
    ):
        client.post("http://example.com/", json={})

    assert monotonic() - started_at < 5
    release.set()


def test_connecting_to_an_unknown_name_raises_a_connect_error() -> None:
    def fail_to_resolve(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with (
        httpx2.Client(transport=DeadlineTransport(lookup=fail_to_resolve)) as client,
        pytest.raises(NameNotResolved),
    ):
        client.post("http://example.com/", json={})


def test_the_next_address_is_tried_after_a_refused_connection() -> None:
    transport = DeadlineTransport(lookup=lambda host, port: ["127.0.0.2", "127.0.0.1"])
    with openai_server() as server, httpx2.Client(transport=transport, timeout=5.0) as client:
        response = client.post(f"http://example.com:{server.server_port}/", json={})

        assert response.status_code == 200
