"""The transport by itself: encrypted servers, slow name services, compressed answers."""

import gzip
import ssl
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpcore2
import httpx2
import pytest

from tests.fakes import openai_server as server_side
from tests.fakes.openai_server import openai_server
from vca.conversation.llm.transport import Deadline, DeadlineBackend, DeadlineTransport

CERTIFICATE = Path(server_side.__file__).with_name("localhost.pem")


def get(url: str, *, timeout_s: float) -> httpx2.Response:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    with httpx2.Client(
        transport=DeadlineTransport(ssl_context=context), timeout=timeout_s
    ) as client:
        return client.post(url, json={})


def served(behaviour: Any, *, timeout_s: float) -> httpx2.Response:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    with openai_server(context) as server:
        server.set_behaviours(behaviour)
        return get(server.url, timeout_s=timeout_s)


def test_an_encrypted_answer_is_read() -> None:
    assert "Hello" in served(server_side.ok, timeout_s=5.0).text


def test_an_encrypted_drip_ends_with_the_deadline() -> None:
    began = monotonic()

    with pytest.raises(httpx2.ReadTimeout):
        served(server_side.drip_body, timeout_s=0.5)

    assert monotonic() - began < 5


def test_a_server_without_a_known_certificate_is_refused() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    with (
        openai_server(context) as server,
        httpx2.Client(transport=DeadlineTransport(), timeout=5.0) as client,
        pytest.raises(httpx2.ConnectError),
    ):
        client.post(server.url, json={})


def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 1_000_000)

    def compressed(handler: Any) -> None:
        handler.begin_response(content_encoding="gzip")
        handler.send_chunk(packed)
        handler.send_chunk(b"")

    assert served(compressed, timeout_s=5.0).content == packed


def test_a_name_service_that_hangs_is_not_waited_for() -> None:
    release = Event()
    backend = DeadlineBackend(lambda host, port: [str(release.wait(10))])
    began = monotonic()

    with pytest.raises(httpcore2.ConnectTimeout):
        backend.connect_tcp("example.com", 443, Deadline(0.3))

    assert monotonic() - began < 5
    release.set()


def test_a_name_that_is_unknown_cannot_be_connected_to() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(httpcore2.ConnectError):
        DeadlineBackend(unknown).connect_tcp("example.com", 443, Deadline(5.0))


def test_the_next_address_is_tried_when_one_refuses() -> None:
    with openai_server() as server:
        backend = DeadlineBackend(lambda host, port: ["127.0.0.2", "127.0.0.1"])

        stream = backend.connect_tcp("example.com", server.server_port, Deadline(5.0))

        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        stream.close()
