"""The client against real sockets on loopback: who was connected to, what was sent and read."""

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


class Service:
    """A name service that gives its answers in turn, the last one for ever."""

    def __init__(self, *found: list[str]) -> None:
        self._answers = list(found)
        self.asked: list[str] = []

    def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def client(
    *found: list[str],
    opened: str = "",
    ports: tuple[int, ...] = (),
    context: ssl.SSLContext | None = None,
) -> OutgoingClient:
    """One that may speak HTTP, and whose name service gives these answers."""
    allowed = UrlPolicy(parse_networks(opened) if opened else (), allow_http=True, ports=ports)
    return OutgoingClient(allowed, resolver=Resolver(Service(*found)), tls_context=context)


def to_loopback(**given: ssl.SSLContext) -> OutgoingClient:
    return client(["127.0.0.1"], opened="127.0.0.0/8", **given)


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with http_receiver() as found:
        yield found


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that any socket of the process was told to connect to; none was."""
    asked: list[str] = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        asked.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return asked


# --- Who is connected to ---------------------------------------------------------------------


def _url(host: str, port: int = 80, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_special_address_is_refused_when_saved_and_when_sent_and_no_socket_moves(
    address: str, connects: list[str]
) -> None:
    named = client([address], ports=(80,))
    mixed = client([PUBLIC_ADDRESSES[0], PUBLIC_ADDRESSES[3], address], ports=(80,))
    spelled = client([], ports=(80,))

    for sender, url in ((named, _url(NAME)), (mixed, _url(NAME)), (spelled, _url(address))):
        with pytest.raises(RequestForbidden) as saved:
            sender.check(url)
        with pytest.raises(RequestForbidden) as sent:
            sender.post(url, BODY, JSON, timeout_s=1)
        assert str(saved.value) == str(sent.value)
        assert address not in str(sent.value)
    assert connects == []


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_connected_to_and_it_alone(address: str, connects: list[str]) -> None:
    for sender, url in (
        (client([address], ports=(80,)), _url(NAME)),
        (client([], ports=(80,)), _url(address)),
    ):
        sender.check(url)
        assert connects == []
        with pytest.raises(Unreachable, match="Connection refused"):
            sender.post(url, BODY, JSON)
        assert connects == [address]
        connects.clear()


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
def test_a_server_on_loopback_is_not_reached_by_any_spelling(
    host: str, server: HttpReceiver
) -> None:
    sender = OutgoingClient(UrlPolicy(allow_http=True, ports=(server.port,)))

    with pytest.raises(RequestForbidden):
        sender.post(f"http://{host}:{server.port}/", BODY, JSON)

    assert server.is_unvisited()


def test_a_name_of_which_one_address_is_private_is_refused_whole(server: HttpReceiver) -> None:
    sender = client(["8.8.8.8", "127.0.0.1"], ports=(server.port,))

    with pytest.raises(RequestForbidden, match="not public"):
        sender.post(_url(NAME, server.port), BODY, JSON)

    assert server.is_unvisited()


def test_a_name_that_turns_private_after_it_was_saved_is_refused_when_sent(
    server: HttpReceiver,
) -> None:
    sender = client(["8.8.8.8"], ["127.0.0.1"], ports=(server.port,))
    url = _url(NAME, server.port)

    sender.check(url)
    with pytest.raises(RequestForbidden, match="not public"):
        sender.post(url, BODY, JSON)

    assert server.is_unvisited()


def test_a_name_that_changes_between_judgement_and_connection_is_looked_up_once() -> None:
    service = Service(["127.0.0.2"], ["127.0.0.1"])
    allowed = UrlPolicy(parse_networks("127.0.0.2"), allow_http=True)
    with (
        http_receiver("127.0.0.2") as judged,
        http_receiver("127.0.0.1", port=judged.port) as rebound,
    ):
        answer = OutgoingClient(allowed, resolver=Resolver(service)).post(
            _url(NAME, judged.port), BODY, JSON
        )

        assert answer.status == 200
        assert len(judged.client_ports) == 1
        assert rebound.is_unvisited()
    assert service.asked == [NAME]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer(status: int, server: HttpReceiver) -> None:
    with http_receiver() as inside:
        server.behaviour = reply_with(
            b"HTTP/1.1 %d Go\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % (status, inside.port)
        )

        answer = to_loopback().post(_url(NAME, server.port), BODY, JSON)

        assert answer.status == status
        assert answer.headers["location"] == f"http://127.0.0.1:{inside.port}/"
        assert inside.is_unvisited()


def test_nothing_is_taken_from_the_environment(
    server: HttpReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write(f"machine {NAME} login vca password secret\ndefault login vca password secret\n")
    with http_receiver() as proxy:
        monkeypatch.setenv("NETRC", netrc)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for spelled in (name, name.lower()):
                monkeypatch.setenv(spelled, f"http://127.0.0.1:{proxy.port}")

        to_loopback().post(_url(NAME, server.port), BODY, JSON)

        assert proxy.is_unvisited()
    assert b"authorization" not in server.requests[0].lower()


def test_the_next_address_is_tried_when_one_is_dead_but_not_hundreds(
    server: HttpReceiver, connects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"8.8.8.{number}" for number in range(200)]

    with pytest.raises(Unreachable):
        client(many, ports=(80,)).post(_url(NAME), BODY, JSON)

    assert connects == many[:4]
    monkeypatch.undo()
    sender = client(["127.0.0.9", "127.0.0.1"], opened="127.0.0.0/8")
    assert sender.post(_url(NAME, server.port), BODY, JSON).status == 200


def test_the_settings_decide_what_is_opened(server: HttpReceiver) -> None:
    given = {
        "DATABASE_URL": "postgresql://localhost/nowhere",
        "APP_ENV": "development",
        "APP_NAME": "VCA",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
    }
    both = {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32", "WEBHOOK_ALLOW_HTTP": "true"}
    url = _url("127.0.0.1", server.port)

    for closed in ({}, *({name: both[name]} for name in both)):
        with pytest.raises(RequestForbidden):
            outgoing_client(read_settings({**given, **closed})).post(url, BODY, JSON)
    assert server.is_unvisited()
    assert outgoing_client(read_settings({**given, **both})).post(url, BODY, JSON).status == 200


# --- What is sent ----------------------------------------------------------------------------


def test_the_request_is_the_body_and_few_headers(server: HttpReceiver) -> None:
    answer = to_loopback().post(
        f"http://{NAME.upper()}:{server.port}/a//b/?c=%2Fd", BODY, {**JSON, "Webhook-Id": "msg_1"}
    )

    assert (answer.status, answer.body, answer.complete) == (200, b"ok", True)
    [asked] = server.requests
    head, _, body = asked.partition(b"\r\n\r\n")
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
    "wrong",
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
def test_a_header_that_would_change_the_message_is_refused_unsent(
    wrong: dict[str, str], server: HttpReceiver
) -> None:
    with pytest.raises(RequestForbidden, match="header"):
        to_loopback().post(_url(NAME, server.port), BODY, wrong)

    assert server.is_unvisited()


def test_nothing_of_a_request_is_logged(
    server: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    to_loopback().post(_url(NAME, server.port), BODY, JSON)

    assert caplog.text == ""


# --- Encryption ------------------------------------------------------------------------------


def test_the_certificate_is_the_names_though_the_address_is_pinned() -> None:
    sender = to_loopback(context=client_context())
    with http_receiver(tls=server_context()) as secure:
        assert sender.post(_url("localhost", secure.port, "https"), BODY, JSON).status == 200
        assert secure.sni_names == ["localhost"]
        assert secure.requests[0].endswith(BODY)


def test_an_address_is_verified_as_an_address() -> None:
    sender = to_loopback(context=client_context())
    with http_receiver(tls=server_context()) as secure:
        assert sender.post(_url("127.0.0.1", secure.port, "https"), BODY, JSON).status == 200


@pytest.mark.parametrize(
    ("host", "context"),
    [
        (NAME, client_context),
        ("127.0.0.2", client_context),
        ("localhost", lambda: None),
    ],
)
def test_another_names_certificate_and_an_unknown_one_get_nothing(
    host: str, context: Callable[[], ssl.SSLContext | None]
) -> None:
    sender = client(["127.0.0.2"], opened="127.0.0.0/8", context=context())
    with http_receiver("127.0.0.2", tls=server_context()) as secure:
        with pytest.raises(Unreachable, match="certificate"):
            sender.post(_url(host, secure.port, "https"), BODY, JSON)

        assert len(secure.client_ports) == 1
        assert secure.requests in ([], [b""])


# --- What is read ----------------------------------------------------------------------------


def _chunks(line: socket.socket, stop: Event) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not stop.is_set():
        line.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")


def _unbounded(line: socket.socket, stop: Event) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not stop.is_set():
        line.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    "behave",
    [
        _chunks,
        _unbounded,
        reply_with(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 200_000),
    ],
)
def test_no_more_than_the_limit_is_read_and_the_answer_counts(
    behave: Behaviour, server: HttpReceiver
) -> None:
    server.behaviour = behave

    answer = to_loopback().post(_url(NAME, server.port), BODY, JSON)

    assert (answer.status, answer.complete) == (200, False)
    assert MAX_BYTES - 1000 < len(answer.body) < MAX_BYTES
    assert set(answer.body) == {ord("x")}


def test_an_answer_of_just_the_limit_is_whole(server: HttpReceiver) -> None:
    body = b"x" * 65_494
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 65494\r\n\r\n"
    assert len(head + body) == MAX_BYTES
    server.behaviour = reply_with(head + body)

    answer = to_loopback().post(_url(NAME, server.port), BODY, JSON)

    assert (answer.body, answer.complete) == (body, True)


def test_a_compressed_body_is_not_unpacked(server: HttpReceiver) -> None:
    packed = b"\x1f\x8b\x08bomb"
    server.behaviour = reply_with(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\n" + packed
    )

    assert to_loopback().post(_url(NAME, server.port), BODY, JSON).body == packed


def _endless_head(line: socket.socket, stop: Event) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stop.is_set():
        line.sendall(b"X-Header: " + b"x" * 1000 + b"\r\n")


def _endless_hints(line: socket.socket, stop: Event) -> None:
    while not stop.is_set():
        line.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100)


@pytest.mark.parametrize(
    "behave",
    [
        _endless_head,
        _endless_hints,
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
def test_what_is_no_answer_is_worth_another_try(behave: Behaviour, server: HttpReceiver) -> None:
    server.behaviour = behave

    with pytest.raises(Unreachable) as raised:
        to_loopback().post(_url(NAME, server.port), BODY, JSON)

    assert not isinstance(raised.value, RequestTimeout)


# --- The deadline ----------------------------------------------------------------------------


def _silent(line: socket.socket, stop: Event) -> None:
    stop.wait(TIMEOUT_S)


def _dripping(piece: bytes, begin: bytes = b"") -> Behaviour:
    def behave(line: socket.socket, stop: Event) -> None:
        line.sendall(begin)
        for _ in range(round(TIMEOUT_S / 0.05)):
            if stop.wait(0.05):
                return
            line.sendall(piece)

    return behave


SLOW = {
    "silent": _silent,
    "head": _dripping(b"x", b"HTTP/1.1 200 OK\r\nX-Drip: "),
    "hints": _dripping(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": _dripping(b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"),
    "chunks": _dripping(b"1\r\nx\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize("how", SLOW)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_hangs_or_drips_is_cut_off(how: str, scheme: str) -> None:
    sender = to_loopback(context=client_context())
    with http_receiver(tls=server_context() if scheme == "https" else None) as slow:
        slow.behaviour = SLOW[how]

        with pytest.raises(RequestTimeout):
            sender.post(_url("localhost", slow.port, scheme), BODY, JSON, timeout_s=0.5)


def test_the_budget_of_the_job_is_kept_too(server: HttpReceiver) -> None:
    server.behaviour = SLOW["body"]

    with deadline.within(0.3), pytest.raises(RequestTimeout):
        to_loopback().post(_url(NAME, server.port), BODY, JSON, timeout_s=600)


@pytest.mark.parametrize("behave", [_silent, _dripping(b"\x02", b"\x16\x03\x03\x40\x00")])
def test_a_server_that_never_gets_encrypted_is_cut_off(
    behave: Behaviour, server: HttpReceiver
) -> None:
    server.reads_requests = False
    server.behaviour = behave

    with pytest.raises(RequestTimeout):
        to_loopback().post(_url("localhost", server.port, "https"), BODY, JSON, timeout_s=0.5)


@pytest.mark.parametrize("sip", [0, 16])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_takes_the_body_slowly_or_not_is_cut_off(sip: int, scheme: str) -> None:
    body, taken = b"x" * 50_000_000, []

    def sipping(line: socket.socket, stop: Event) -> None:
        for _ in range(round(TIMEOUT_S / 0.02)):
            if stop.wait(0.02):
                return
            taken.extend(len(line.recv(16384)) for _ in range(sip))

    sender = to_loopback(context=client_context())
    with http_receiver(tls=server_context() if scheme == "https" else None) as slow:
        slow.reads_requests = False
        slow.behaviour = sipping

        with pytest.raises(RequestTimeout):
            sender.post(_url("localhost", slow.port, scheme), body, JSON, timeout_s=0.5)

    assert sum(taken) < len(body) / 2


def test_an_address_that_takes_no_connection_leaves_time_for_the_next() -> None:
    with http_receiver() as alive, socket.socket() as full:
        full.bind(("127.0.0.3", alive.port))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.3", alive.port))

        sender = client(["127.0.0.3", "127.0.0.1"], opened="127.0.0.0/8")
        answer = sender.post(_url(NAME, alive.port), BODY, JSON, timeout_s=2)

        assert answer.status == 200
        for one in waiting:
            one.close()


def test_a_name_service_that_hangs_is_under_the_deadline_too(server: HttpReceiver) -> None:
    release = Event()

    def hanging(name: str) -> list[str]:
        release.wait(TIMEOUT_S)
        return ["127.0.0.1"]

    sender = OutgoingClient(UrlPolicy(LOOPBACK, allow_http=True), resolver=Resolver(hanging))
    for ask in (sender.check, lambda url, **given: sender.post(url, BODY, JSON, **given)):
        with pytest.raises(RequestTimeout, match="resolved"):
            ask(_url(NAME, server.port), timeout_s=0.2)

    assert server.is_unvisited()
    release.set()
