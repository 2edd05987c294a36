"""The HTTP transport of model clients: TLS, slow name resolution and compressed responses."""

import gzip
import ssl
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpcore2
import httpx2
import pytest

from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import openai_server
from vca.conversation.llm.transport import Deadline, DeadlineBackend, DeadlineTransport

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


def test_a_compressed_response_is_not_decompressed() -> None:
    compressed_body = gzip.compress(b"x" * 1_000_000)

    def send_compressed(handler: Any) -> None:
        handler.begin_response(content_encoding="gzip")
        handler.send_chunk(compressed_body)
        handler.send_chunk(b"")

    assert post_to_server(send_compressed, timeout_s=5.0).content == compressed_body


def test_name_resolution_that_hangs_ends_at_the_deadline() -> None:
    release = Event()
    backend = DeadlineBackend(lambda host, port: [str(release.wait(10))])
    started_at = monotonic()

    with pytest.raises(httpcore2.ConnectTimeout):
        backend.connect_tcp("example.com", 443, Deadline(0.3))

    assert monotonic() - started_at < 5
    release.set()


def test_connecting_to_an_unknown_name_raises_a_connect_error() -> None:
    def fail_to_resolve(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(httpcore2.ConnectError):
        DeadlineBackend(fail_to_resolve).connect_tcp("example.com", 443, Deadline(5.0))


def test_the_next_address_is_tried_after_a_refused_connection() -> None:
    with openai_server() as server:
        backend = DeadlineBackend(lambda host, port: ["127.0.0.2", "127.0.0.1"])

        stream = backend.connect_tcp("example.com", server.server_port, Deadline(5.0))

        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        stream.close()
