"""Tests of the requests that the outgoing HTTP client sends, and of the responses it reads."""

import logging
import socket
import ssl
from collections.abc import Callable
from threading import Event

import pytest

from tests.fakes.http_receiver import Behaviour, HttpReceiver, http_receiver, reply_with
from tests.integration.kit.http.conftest import (
    BODY,
    JSON,
    NAME,
    build_url,
    create_client,
    create_loopback_client,
)
from tests.support.smtp_server import client_context, server_context
from vca.kit.http import MAX_BYTES, RequestForbidden, RequestTimeout, Unreachable

# --- Sent requests ---


def test_the_request_has_the_body_and_minimal_headers(server: HttpReceiver) -> None:
    response = create_loopback_client().post(
        f"http://{NAME.upper()}:{server.port}/a//b/?c=%2Fd", BODY, {**JSON, "Webhook-Id": "msg_1"}
    )

    assert (response.status, response.body, response.complete) == (200, b"ok", True)
    [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == BODY
    assert head.split(b"\r\n") == [
        b"POST /a//b/?c=%2Fd HTTP/1.1",
        b"Host: hooks.example.com:%d" % server.port,
        b"User-Agent: VCA",
        b"Accept-Encoding: identity",
        b"Connection: close",
        b"Content-Length: 21",
        b"Content-Type: application/json",
        b"Webhook-Id: msg_1",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Name": "a\r\nHost: b"},
        {"X-Name": "a\nb"},
        {"X-Name": "a\x00"},
        {"X-Name": "ä"},
        {"X Name": "a"},
        {"X-Name\r\nY": "a"},
        {"": "a"},
        *({name: "1"} for name in ("Host", "content-length", "Transfer-Encoding", "Upgrade")),
    ],
)
def test_an_unsafe_header_is_rejected_before_sending(
    headers: dict[str, str], server: HttpReceiver
) -> None:
    with pytest.raises(RequestForbidden, match="header"):
        create_loopback_client().post(build_url(NAME, server.port), BODY, headers)

    assert server.is_unvisited()


def test_requests_are_not_logged(server: HttpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    create_loopback_client().post(build_url(NAME, server.port), BODY, JSON)

    assert caplog.text == ""


# --- Encryption ---


def test_the_certificate_is_verified_for_the_name_and_not_the_address() -> None:
    client = create_loopback_client(context=client_context())
    with http_receiver(tls=server_context()) as receiver:
        assert client.post(build_url("localhost", receiver.port, "https"), BODY, JSON).status == 200
        assert receiver.sni_names == ["localhost"]
        assert receiver.requests[0].endswith(BODY)


def test_the_certificate_of_an_ip_url_is_verified_for_the_address() -> None:
    client = create_loopback_client(context=client_context())
    with http_receiver(tls=server_context()) as receiver:
        assert client.post(build_url("127.0.0.1", receiver.port, "https"), BODY, JSON).status == 200


@pytest.mark.parametrize(
    ("host", "context"),
    [
        (NAME, client_context),
        ("127.0.0.2", client_context),
        ("localhost", lambda: None),
    ],
)
def test_nothing_is_sent_to_a_server_with_a_wrong_or_unknown_certificate(
    host: str, context: Callable[[], ssl.SSLContext | None]
) -> None:
    client = create_client(["127.0.0.2"], networks="127.0.0.0/8", context=context())
    with http_receiver("127.0.0.2", tls=server_context()) as receiver:
        with pytest.raises(Unreachable, match="certificate"):
            client.post(build_url(host, receiver.port, "https"), BODY, JSON)

        assert len(receiver.client_ports) == 1
        assert receiver.requests in ([], [b""])


# --- Responses ---


def _send_endless_chunks(connection: socket.socket, stop: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not stop.is_set():
        connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")


def _send_endless_body(connection: socket.socket, stop: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not stop.is_set():
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    "behaviour",
    [
        _send_endless_chunks,
        _send_endless_body,
        reply_with(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 200_000),
    ],
)
def test_a_longer_response_is_truncated_at_the_limit(
    behaviour: Behaviour, server: HttpReceiver
) -> None:
    server.behaviour = behaviour

    response = create_loopback_client().post(build_url(NAME, server.port), BODY, JSON)

    assert (response.status, response.complete) == (200, False)
    assert MAX_BYTES - 1000 < len(response.body) < MAX_BYTES
    assert set(response.body) == {ord("x")}


def test_a_response_of_exactly_the_limit_is_complete(server: HttpReceiver) -> None:
    body = b"x" * 65_494
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 65494\r\n\r\n"
    assert len(head + body) == MAX_BYTES
    server.behaviour = reply_with(head + body)

    response = create_loopback_client().post(build_url(NAME, server.port), BODY, JSON)

    assert (response.body, response.complete) == (body, True)


def test_a_compressed_body_is_not_decompressed(server: HttpReceiver) -> None:
    compressed_body = b"\x1f\x8b\x08bomb"
    server.behaviour = reply_with(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\n" + compressed_body
    )

    assert (
        create_loopback_client().post(build_url(NAME, server.port), BODY, JSON).body
        == compressed_body
    )


def _send_endless_head(connection: socket.socket, stop: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stop.is_set():
        connection.sendall(b"X-Header: " + b"x" * 1000 + b"\r\n")


def _send_endless_hints(connection: socket.socket, stop: Event) -> None:
    while not stop.is_set():
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100)


@pytest.mark.parametrize(
    "behaviour",
    [
        _send_endless_head,
        _send_endless_hints,
        reply_with(b""),
        reply_with(b"HTTP/1.1 200"),
        reply_with(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"),
        reply_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        reply_with(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
        reply_with(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        reply_with(b"220 mail.example.com ESMTP\r\n"),
        reply_with(b"\x00\xff" * 100_000),
    ],
)
def test_a_malformed_response_is_retryable(behaviour: Behaviour, server: HttpReceiver) -> None:
    server.behaviour = behaviour

    with pytest.raises(Unreachable) as raised:
        create_loopback_client().post(build_url(NAME, server.port), BODY, JSON)

    assert not isinstance(raised.value, RequestTimeout)
