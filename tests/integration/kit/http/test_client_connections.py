"""Tests of the connections that the outgoing HTTP client uses again, and of those that it must not.

Each receiver keeps its connections open, so that only the client decides.
"""

import socket
from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic

import pytest

from tests.fakes.http_receiver import HttpReceiver, http_receiver, keep_open
from tests.integration.kit.http.conftest import (
    BODY,
    JSON,
    NAME,
    FakeNameService,
    build_url,
    create_client,
    create_loopback_client,
)
from tests.support.smtp_server import client_context, server_context
from vca.kit.addresses import parse_networks
from vca.kit.http import OutgoingClient, RequestForbidden, RequestTimeout, Resolver, Unreachable
from vca.kit.http import client as client_module
from vca.kit.http.client import MAX_CONNECTION_AGE_S, MAX_IDLE_CONNECTIONS
from vca.kit.http.policy import UrlPolicy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOST = b""


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        receiver.behaviour = keep_open(receiver, OK)
        yield receiver


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that advances the clock of the connection pools by some seconds."""
    started_at = monotonic()

    def advance(seconds: float) -> None:
        monkeypatch.setattr("vca.kit.http.pool.monotonic", lambda: started_at + seconds)

    return advance


def post(client: OutgoingClient, url: str, scope: str | None = "acme", **options: bool) -> int:
    return client.post(url, BODY, JSON, connection_scope=scope, **options).status


def test_a_connection_is_used_again_in_its_scope_only(server: HttpReceiver) -> None:
    client, url = create_loopback_client(), build_url(NAME, server.port)

    for scope in ("acme", "acme", "globex", "acme", "globex"):
        assert post(client, url, scope) == 200

    assert (len(server.requests), len(server.client_ports)) == (5, 2)
    assert b"Connection:" not in server.requests[0]


def test_without_a_scope_each_request_has_its_own_connection(server: HttpReceiver) -> None:
    client = create_loopback_client()

    for _ in range(3):
        assert post(client, build_url(NAME, server.port), None) == 200

    assert len(server.client_ports) == 3


def test_two_names_with_one_address_share_no_connection(server: HttpReceiver) -> None:
    client = create_loopback_client()

    for name in ("one.example.com", "two.example.com", "127.0.0.1"):
        post(client, build_url(name, server.port))

    assert len(server.client_ports) == 3


def test_a_changed_dns_answer_gets_a_new_connection(server: HttpReceiver) -> None:
    client = create_client(
        ["127.0.0.1"], ["127.0.0.2"], ["127.0.0.9", "127.0.0.1"], networks="127.0.0.0/8"
    )
    url = build_url(NAME, server.port)
    with http_receiver("127.0.0.2", port=server.port) as other_receiver:
        for _ in range(3):
            assert post(client, url) == 200

        assert len(other_receiver.client_ports) == 1
    assert len(server.client_ports) == 1


def test_a_name_that_becomes_private_is_rejected_despite_an_idle_connection(
    server: HttpReceiver,
) -> None:
    client = create_client(
        ["127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["10.0.0.1"], networks="127.0.0.0/8"
    )
    url = build_url(NAME, server.port)
    post(client, url)

    for _ in range(2):
        with pytest.raises(RequestForbidden, match="not public"):
            post(client, url)

    assert len(server.requests) == 1


def test_clients_with_different_policies_share_no_connection(server: HttpReceiver) -> None:
    resolver = Resolver(FakeNameService(["127.0.0.1"]))
    allowing = UrlPolicy(parse_networks("127.0.0.0/8"), allow_http=True)
    url = build_url(NAME, server.port)
    post(OutgoingClient(allowing, resolver=resolver), url)

    with pytest.raises(RequestForbidden):
        post(OutgoingClient(UrlPolicy(allow_http=True), resolver=resolver), url)


@pytest.mark.parametrize(
    ("response", "usable_s", "too_late_s"),
    [
        (OK, MAX_CONNECTION_AGE_S - 2, MAX_CONNECTION_AGE_S + 0.1),
        (b"HTTP/1.1 204 No\r\nKeep-Alive: timeout=5, max=100\r\n\r\n", 3.5, 4.1),
        (b"HTTP/1.1 204 No\r\nKeep-Alive: max=1, Timeout = 5\r\n\r\n", 3.5, 4.1),
        (b"HTTP/1.1 204 No\r\nKeep-Alive: timeout=999\r\n\r\n", 28, MAX_CONNECTION_AGE_S + 0.1),
        (b"HTTP/1.1 204 No\r\nKeep-Alive: timeout=x\r\n\r\n", 28, MAX_CONNECTION_AGE_S + 0.1),
    ],
)
def test_an_old_connection_is_not_used_again(
    response: bytes,
    usable_s: float,
    too_late_s: float,
    server: HttpReceiver,
    set_clock: Callable[[float], None],
) -> None:
    server.behaviour = keep_open(server, response)
    client, url = create_loopback_client(), build_url(NAME, server.port)
    post(client, url)

    set_clock(usable_s)
    post(client, url)
    assert len(server.client_ports) == 1

    set_clock(usable_s + too_late_s)
    post(client, url)
    assert len(server.client_ports) == 2


def test_use_does_not_extend_the_life_of_a_connection(
    server: HttpReceiver, set_clock: Callable[[float], None]
) -> None:
    client, url = create_loopback_client(), build_url(NAME, server.port)

    for seconds in range(0, 36, 4):
        set_clock(seconds)
        post(client, url)

    assert len(server.client_ports) == 2


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=0\r\n\r\nok",
    ],
)
def test_a_connection_is_not_used_again_after_such_a_response(
    response: bytes, server: HttpReceiver
) -> None:
    server.behaviour = keep_open(server, response)
    client, url = create_loopback_client(), build_url(NAME, server.port)

    for _ in range(2):
        assert post(client, url) == 200

    assert len(server.client_ports) == 2


def test_the_data_of_one_response_is_never_part_of_the_next(server: HttpReceiver) -> None:
    second_response = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    server.behaviour = keep_open(server, OK + second_response)
    client, url = create_loopback_client(), build_url(NAME, server.port)

    assert [post(client, url) for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("delay_s", [0, 0.05])
def test_a_connection_that_the_server_closes_after_its_response_is_not_used(
    delay_s: float, server: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply_and_close(connection: socket.socket, stop: Event) -> None:
        connection.sendall(OK)  # without saying that it closes
        stop.wait(delay_s)

    monkeypatch.setattr(client_module, "SETTLE_S", 5.0)
    server.behaviour = reply_and_close
    client, url = create_loopback_client(), build_url(NAME, server.port)

    for _ in range(5):
        assert post(client, url) == 200

    assert (len(server.requests), len(server.client_ports)) == (5, 5)


def test_a_post_whose_connection_is_lost_is_not_sent_twice(server: HttpReceiver) -> None:
    server.behaviour = keep_open(server, OK, LOST)
    client, url = create_loopback_client(), build_url(NAME, server.port)
    post(client, url)

    with pytest.raises(Unreachable):
        post(client, url)

    assert (len(server.requests), len(server.client_ports)) == (2, 1)


def test_a_request_that_the_receiver_recognises_is_sent_again_once(server: HttpReceiver) -> None:
    server.behaviour = keep_open(server, OK, LOST)
    client, url = create_loopback_client(), build_url(NAME, server.port)
    post(client, url)

    assert post(client, url, is_repeatable=True) == 200
    server.behaviour = keep_open(server, LOST)
    with pytest.raises(Unreachable):
        post(client, url, is_repeatable=True)

    assert len(server.client_ports) == 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_an_idempotent_request_whose_connection_is_lost_is_sent_again(
    method: str, server: HttpReceiver
) -> None:
    head_only = b"HTTP/1.1 204 No\r\n\r\n"
    server.behaviour = keep_open(server, head_only, LOST)
    client, url = create_loopback_client(), build_url(NAME, server.port)

    for _ in range(2):
        assert client.request(method, url, {}, connection_scope="acme").status == 204

    assert [request.split()[0] for request in server.requests] == [method.encode()] * 3


@pytest.mark.parametrize("started_response", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_request_is_not_sent_again_after_a_part_of_a_response(
    started_response: bytes, server: HttpReceiver
) -> None:
    def break_off(connection: socket.socket, stop: object) -> None:
        keep_open(server, OK, LOST)(connection, server.stopped)
        connection.sendall(started_response)

    server.behaviour = break_off
    client, url = create_loopback_client(), build_url(NAME, server.port)
    client.request("GET", url, {}, connection_scope="acme")

    with pytest.raises(Unreachable):
        client.request("GET", url, {}, connection_scope="acme")

    assert len(server.requests) == 2


def test_a_request_that_times_out_is_not_sent_again(server: HttpReceiver) -> None:
    def stay_silent(connection: socket.socket, stop: object) -> None:
        keep_open(server, OK, LOST)(connection, server.stopped)
        server.stopped.wait(20)

    server.behaviour = stay_silent
    client, url = create_loopback_client(), build_url(NAME, server.port)
    client.request("GET", url, {}, connection_scope="acme")

    with pytest.raises(RequestTimeout):
        client.request("GET", url, {}, connection_scope="acme", timeout_s=0.3)

    assert len(server.requests) == 2


def test_a_tls_connection_is_used_again_and_is_bound_to_the_name() -> None:
    client = create_loopback_client(context=client_context())
    with http_receiver(tls=server_context()) as receiver:
        receiver.behaviour = keep_open(receiver, OK)
        url = build_url("localhost", receiver.port, "https")
        for _ in range(3):
            assert post(client, url) == 200
        assert len(receiver.client_ports) == 1

        with pytest.raises(Unreachable, match="certificate"):
            post(client, build_url(NAME, receiver.port, "https"))


def test_idle_connections_are_limited(server: HttpReceiver) -> None:
    client, url = create_loopback_client(), build_url(NAME, server.port)

    for number in range(MAX_IDLE_CONNECTIONS + 1):
        post(client, url, f"tenant {number}")
    count = len(server.client_ports)
    post(client, url, f"tenant {MAX_IDLE_CONNECTIONS}")
    assert len(server.client_ports) == count
    post(client, url, "tenant 0")  # the one that was idle longest

    assert len(server.client_ports) == count + 1


def test_a_closed_client_keeps_no_connection(server: HttpReceiver) -> None:
    client, url = create_loopback_client(), build_url(NAME, server.port)
    post(client, url)

    client.close()

    assert [post(client, url) for _ in range(2)] == [200, 200]
    assert len(server.client_ports) == 3
