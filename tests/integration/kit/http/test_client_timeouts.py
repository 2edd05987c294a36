"""Tests of the timeouts of the outgoing HTTP client."""

import socket
from threading import Event

import pytest

from tests.fakes.http_receiver import TIMEOUT_S, Behaviour, HttpReceiver, http_receiver
from tests.integration.kit.http.conftest import (
    BODY,
    JSON,
    NAME,
    build_url,
    create_client,
    create_loopback_client,
)
from tests.support.smtp_server import client_context, server_context
from vca.kit import deadline
from vca.kit.addresses import parse_networks
from vca.kit.http import OutgoingClient, RequestTimeout, Resolver, UrlPolicy

LOOPBACK = parse_networks("127.0.0.0/8, ::1")


def _stay_silent(connection: socket.socket, stop: Event) -> None:
    stop.wait(TIMEOUT_S)


def _drip(repeated: bytes, start: bytes = b"") -> Behaviour:
    def behaviour(connection: socket.socket, stop: Event) -> None:
        connection.sendall(start)
        for _ in range(round(TIMEOUT_S / 0.05)):
            if stop.wait(0.05):
                return
            connection.sendall(repeated)

    return behaviour


# A behaviour for each part of a response that never ends.
SLOW_PARTS = {
    "silent": _stay_silent,
    "head": _drip(b"x", b"HTTP/1.1 200 OK\r\nX-Drip: "),
    "hints": _drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": _drip(b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"),
    "chunks": _drip(b"1\r\nx\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize("part", SLOW_PARTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_hanging_or_slow_response_times_out(part: str, scheme: str) -> None:
    client = create_loopback_client(context=client_context())
    with http_receiver(tls=server_context() if scheme == "https" else None) as receiver:
        receiver.behaviour = SLOW_PARTS[part]

        with pytest.raises(RequestTimeout):
            client.post(build_url("localhost", receiver.port, scheme), BODY, JSON, timeout_s=0.5)


def test_the_deadline_of_the_job_applies(server: HttpReceiver) -> None:
    server.behaviour = SLOW_PARTS["body"]

    with deadline.within(0.3), pytest.raises(RequestTimeout):
        create_loopback_client().post(build_url(NAME, server.port), BODY, JSON, timeout_s=600)


@pytest.mark.parametrize("behaviour", [_stay_silent, _drip(b"\x02", b"\x16\x03\x03\x40\x00")])
def test_an_unfinished_tls_handshake_times_out(behaviour: Behaviour, server: HttpReceiver) -> None:
    server.reads_requests = False
    server.behaviour = behaviour

    with pytest.raises(RequestTimeout):
        create_loopback_client().post(
            build_url("localhost", server.port, "https"), BODY, JSON, timeout_s=0.5
        )


@pytest.mark.parametrize("reads_per_turn", [0, 16])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_reads_the_body_slowly_or_never_times_out(
    reads_per_turn: int, scheme: str
) -> None:
    body = b"x" * 50_000_000
    received_sizes: list[int] = []

    def read_slowly(connection: socket.socket, stop: Event) -> None:
        for _ in range(round(TIMEOUT_S / 0.02)):
            if stop.wait(0.02):
                return
            received_sizes.extend(len(connection.recv(16384)) for _ in range(reads_per_turn))

    client = create_loopback_client(context=client_context())
    with http_receiver(tls=server_context() if scheme == "https" else None) as receiver:
        receiver.reads_requests = False
        receiver.behaviour = read_slowly

        with pytest.raises(RequestTimeout):
            client.post(build_url("localhost", receiver.port, scheme), body, JSON, timeout_s=0.5)

    assert sum(received_sizes) < len(body) / 2


def test_an_unresponsive_address_leaves_time_for_the_next() -> None:
    with http_receiver() as receiver, socket.socket() as full_listener:
        full_listener.bind(("127.0.0.3", receiver.port))
        full_listener.listen(0)
        waiting_sockets = [socket.socket() for _ in range(4)]
        for waiting_socket in waiting_sockets:
            waiting_socket.setblocking(False)
            waiting_socket.connect_ex(("127.0.0.3", receiver.port))

        client = create_client(["127.0.0.3", "127.0.0.1"], networks="127.0.0.0/8")
        response = client.post(build_url(NAME, receiver.port), BODY, JSON, timeout_s=2)

        assert response.status == 200
        for waiting_socket in waiting_sockets:
            waiting_socket.close()


def test_a_hanging_name_service_times_out(server: HttpReceiver) -> None:
    release = Event()

    def hang(name: str) -> list[str]:
        release.wait(TIMEOUT_S)
        return ["127.0.0.1"]

    client = OutgoingClient(UrlPolicy(LOOPBACK, allow_http=True), resolver=Resolver(hang))

    def post(url: str, *, timeout_s: float) -> None:
        client.post(url, BODY, JSON, timeout_s=timeout_s)

    for operation in (client.check, post):
        with pytest.raises(RequestTimeout, match="resolved"):
            operation(build_url(NAME, server.port), timeout_s=0.2)

    assert server.is_unvisited()
    release.set()
