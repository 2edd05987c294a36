"""Tests of the outgoing HTTP client with real sockets on loopback."""

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from threading import Event

import pytest

from tests.fakes.http_receiver import TIMEOUT_S, Behaviour, HttpReceiver, http_receiver, reply_with
from tests.support.addresses import FORBIDDEN_ADDRESSES, PUBLIC_ADDRESSES
from tests.support.smtp_server import client_context, server_context
from vca.app import outgoing_client
from vca.kit import deadline
from vca.kit.addresses import parse_networks
from vca.kit.http import (
    MAX_BYTES,
    OutgoingClient,
    RequestForbidden,
    RequestTimeout,
    Resolver,
    Unreachable,
    UrlPolicy,
)
from vca.settings import read_settings

NAME = "hooks.example.com"
BODY = b'{"type":"call.ended"}'
JSON = {"Content-Type": "application/json"}
LOOPBACK = parse_networks("127.0.0.0/8, ::1")


class FakeNameService:
    """A name service that returns its results in turn, and then always the last one."""

    def __init__(self, *results: list[str]) -> None:
        self._results = list(results)
        self.requested_names: list[str] = []

    def __call__(self, name: str) -> list[str]:
        self.requested_names.append(name)
        return self._results.pop(0) if len(self._results) > 1 else self._results[0]


def create_client(
    *lookup_results: list[str],
    networks: str = "",
    ports: tuple[int, ...] = (),
    context: ssl.SSLContext | None = None,
) -> OutgoingClient:
    """Create a client that may use HTTP; its name service returns these results."""
    policy = UrlPolicy(parse_networks(networks) if networks else (), allow_http=True, ports=ports)
    resolver = Resolver(FakeNameService(*lookup_results))
    return OutgoingClient(policy, resolver=resolver, tls_context=context)


def create_loopback_client(context: ssl.SSLContext | None = None) -> OutgoingClient:
    return create_client(["127.0.0.1"], networks="127.0.0.0/8", context=context)


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def connected_addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every connection of the process fail, and return the addresses of the attempts."""
    addresses: list[str] = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        addresses.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return addresses


# --- Addresses and names ---------------------------------------------------------------------


def _url(host: str, port: int = 80, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_special_address_is_rejected_by_check_and_post_without_a_connection(
    address: str, connected_addresses: list[str]
) -> None:
    client_of_name = create_client([address], ports=(80,))
    client_of_mixed_name = create_client(
        [PUBLIC_ADDRESSES[0], PUBLIC_ADDRESSES[3], address], ports=(80,)
    )
    client_of_address = create_client([], ports=(80,))

    for client, url in (
        (client_of_name, _url(NAME)),
        (client_of_mixed_name, _url(NAME)),
        (client_of_address, _url(address)),
    ):
        with pytest.raises(RequestForbidden) as check_error:
            client.check(url)
        with pytest.raises(RequestForbidden) as post_error:
            client.post(url, BODY, JSON, timeout_s=1)
        assert str(check_error.value) == str(post_error.value)
        assert address not in str(post_error.value)
    assert connected_addresses == []


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_the_client_connects_only_to_the_resolved_public_address(
    address: str, connected_addresses: list[str]
) -> None:
    for client, url in (
        (create_client([address], ports=(80,)), _url(NAME)),
        (create_client([], ports=(80,)), _url(address)),
    ):
        client.check(url)
        assert connected_addresses == []
        with pytest.raises(Unreachable, match="Connection refused"):
            client.post(url, BODY, JSON)
        assert connected_addresses == [address]
        connected_addresses.clear()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "0.0.0.0",
        "0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "①②⑦.0.0.1",
        "１２７.0.0.1",
        "user@127.0.0.1",
        "8.8.8.8@127.0.0.1",
        "127.0.0.1%00",
    ],
)
def test_no_spelling_of_a_loopback_address_reaches_the_server(
    host: str, server: HttpReceiver
) -> None:
    client = OutgoingClient(UrlPolicy(allow_http=True, ports=(server.port,)))

    with pytest.raises(RequestForbidden):
        client.post(f"http://{host}:{server.port}/", BODY, JSON)

    assert server.is_unvisited()


def test_a_name_with_one_private_address_is_rejected(server: HttpReceiver) -> None:
    client = create_client(["8.8.8.8", "127.0.0.1"], ports=(server.port,))

    with pytest.raises(RequestForbidden, match="not public"):
        client.post(_url(NAME, server.port), BODY, JSON)

    assert server.is_unvisited()


def test_a_name_that_resolves_to_a_private_address_later_is_rejected(
    server: HttpReceiver,
) -> None:
    client = create_client(["8.8.8.8"], ["127.0.0.1"], ports=(server.port,))
    url = _url(NAME, server.port)

    client.check(url)
    with pytest.raises(RequestForbidden, match="not public"):
        client.post(url, BODY, JSON)

    assert server.is_unvisited()


def test_check_and_connection_use_the_same_lookup_of_a_name() -> None:
    name_service = FakeNameService(["127.0.0.2"], ["127.0.0.1"])
    policy = UrlPolicy(parse_networks("127.0.0.2"), allow_http=True)
    with (
        http_receiver("127.0.0.2") as checked_receiver,
        http_receiver("127.0.0.1", port=checked_receiver.port) as other_receiver,
    ):
        response = OutgoingClient(policy, resolver=Resolver(name_service)).post(
            _url(NAME, checked_receiver.port), BODY, JSON
        )

        assert response.status == 200
        assert len(checked_receiver.client_ports) == 1
        assert other_receiver.is_unvisited()
    assert name_service.requested_names == [NAME]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_returned_and_not_followed(status: int, server: HttpReceiver) -> None:
    with http_receiver() as target:
        server.behaviour = reply_with(
            b"HTTP/1.1 %d Go\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % (status, target.port)
        )

        response = create_loopback_client().post(_url(NAME, server.port), BODY, JSON)

        assert response.status == status
        assert response.headers["location"] == f"http://127.0.0.1:{target.port}/"
        assert target.is_unvisited()


def test_proxies_and_netrc_of_the_environment_are_ignored(
    server: HttpReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write(f"machine {NAME} login vca password secret\ndefault login vca password secret\n")
    with http_receiver() as proxy:
        monkeypatch.setenv("NETRC", netrc)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for variable in (name, name.lower()):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")

        create_loopback_client().post(_url(NAME, server.port), BODY, JSON)

        assert proxy.is_unvisited()
    assert b"authorization" not in server.requests[0].lower()


def test_at_most_four_addresses_are_tried(
    server: HttpReceiver, connected_addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [f"8.8.8.{number}" for number in range(200)]

    with pytest.raises(Unreachable):
        create_client(addresses, ports=(80,)).post(_url(NAME), BODY, JSON)

    assert connected_addresses == addresses[:4]
    monkeypatch.undo()
    client = create_client(["127.0.0.9", "127.0.0.1"], networks="127.0.0.0/8")
    assert client.post(_url(NAME, server.port), BODY, JSON).status == 200


def test_the_settings_allow_private_networks_and_http(server: HttpReceiver) -> None:
    environment = {
        "DATABASE_URL": "postgresql://localhost/nowhere",
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
    }
    permissions = {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32", "WEBHOOK_ALLOW_HTTP": "true"}
    url = _url("127.0.0.1", server.port)

    for insufficient_permissions in ({}, *({name: permissions[name]} for name in permissions)):
        with pytest.raises(RequestForbidden):
            outgoing_client(read_settings({**environment, **insufficient_permissions})).post(
                url, BODY, JSON
            )
    assert server.is_unvisited()
    assert (
        outgoing_client(read_settings({**environment, **permissions})).post(url, BODY, JSON).status
        == 200
    )


# --- Sent requests ---------------------------------------------------------------------------


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
        create_loopback_client().post(_url(NAME, server.port), BODY, headers)

    assert server.is_unvisited()


def test_requests_are_not_logged(server: HttpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    create_loopback_client().post(_url(NAME, server.port), BODY, JSON)

    assert caplog.text == ""


# --- Encryption ------------------------------------------------------------------------------


def test_the_certificate_is_verified_for_the_name_and_not_the_address() -> None:
    client = create_loopback_client(context=client_context())
    with http_receiver(tls=server_context()) as receiver:
        assert client.post(_url("localhost", receiver.port, "https"), BODY, JSON).status == 200
        assert receiver.sni_names == ["localhost"]
        assert receiver.requests[0].endswith(BODY)


def test_the_certificate_of_an_ip_url_is_verified_for_the_address() -> None:
    client = create_loopback_client(context=client_context())
    with http_receiver(tls=server_context()) as receiver:
        assert client.post(_url("127.0.0.1", receiver.port, "https"), BODY, JSON).status == 200


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
            client.post(_url(host, receiver.port, "https"), BODY, JSON)

        assert len(receiver.client_ports) == 1
        assert receiver.requests in ([], [b""])


# --- Responses -------------------------------------------------------------------------------


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

    response = create_loopback_client().post(_url(NAME, server.port), BODY, JSON)

    assert (response.status, response.complete) == (200, False)
    assert MAX_BYTES - 1000 < len(response.body) < MAX_BYTES
    assert set(response.body) == {ord("x")}


def test_a_response_of_exactly_the_limit_is_complete(server: HttpReceiver) -> None:
    body = b"x" * 65_494
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 65494\r\n\r\n"
    assert len(head + body) == MAX_BYTES
    server.behaviour = reply_with(head + body)

    response = create_loopback_client().post(_url(NAME, server.port), BODY, JSON)

    assert (response.body, response.complete) == (body, True)


def test_a_compressed_body_is_not_decompressed(server: HttpReceiver) -> None:
    compressed_body = b"\x1f\x8b\x08bomb"
    server.behaviour = reply_with(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\n" + compressed_body
    )

    assert (
        create_loopback_client().post(_url(NAME, server.port), BODY, JSON).body == compressed_body
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
        create_loopback_client().post(_url(NAME, server.port), BODY, JSON)

    assert not isinstance(raised.value, RequestTimeout)


# --- The deadline ----------------------------------------------------------------------------


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
            client.post(_url("localhost", receiver.port, scheme), BODY, JSON, timeout_s=0.5)


def test_the_deadline_of_the_job_applies(server: HttpReceiver) -> None:
    server.behaviour = SLOW_PARTS["body"]

    with deadline.within(0.3), pytest.raises(RequestTimeout):
        create_loopback_client().post(_url(NAME, server.port), BODY, JSON, timeout_s=600)


@pytest.mark.parametrize("behaviour", [_stay_silent, _drip(b"\x02", b"\x16\x03\x03\x40\x00")])
def test_an_unfinished_tls_handshake_times_out(behaviour: Behaviour, server: HttpReceiver) -> None:
    server.reads_requests = False
    server.behaviour = behaviour

    with pytest.raises(RequestTimeout):
        create_loopback_client().post(
            _url("localhost", server.port, "https"), BODY, JSON, timeout_s=0.5
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
            client.post(_url("localhost", receiver.port, scheme), body, JSON, timeout_s=0.5)

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
        response = client.post(_url(NAME, receiver.port), BODY, JSON, timeout_s=2)

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
            operation(_url(NAME, server.port), timeout_s=0.2)

    assert server.is_unvisited()
    release.set()
