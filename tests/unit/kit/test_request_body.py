"""Bodies that arrive over a socket: what is waited for, and for how long."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from werkzeug.wsgi import get_input_stream

from vca.kit.web import request_body
from vca.kit.web.request_body import BodyIncomplete, BodyTooSlow, SocketBody


class Buffer:
    """What the server's parser has read beyond the head."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def take_buffered(self) -> bytes:
        data, self.data = self.data, b""
        return data

    def unread(self, data: bytes) -> None:
        self.data = data + self.data


class SlowPlaces:
    """Counts how often a slow body was admitted, and how many are admitted now."""

    def __init__(self) -> None:
        self.entered = self.in_use = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.entered += 1
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return the server's and the client's end of a connection."""
    server, client = socket.socketpair()
    with server, client:
        yield server, client


@pytest.fixture
def slow_places() -> SlowPlaces:
    return SlowPlaces()


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every limit to a twentieth."""
    monkeypatch.setattr(request_body, "TOTAL_S", 0.5)
    monkeypatch.setattr(request_body, "RATE_FREE_S", 0.1)
    monkeypatch.setattr(request_body, "MIN_BYTES_PER_S", 80_000)


def _body(
    server: socket.socket,
    length: int | None,
    buffer: Buffer | None = None,
    close_connection: Callable[[], None] = lambda: None,
) -> SocketBody:
    return SocketBody(server, buffer or Buffer(), length, close_connection)


@contextmanager
def _drip(client: socket.socket, chunk: bytes, chunks: int, every_s: float) -> Iterator[None]:
    """Send chunks one after the other until the block ends."""
    ended = Event()

    def send() -> None:
        for _ in range(chunks):
            client.sendall(chunk)
            if ended.wait(every_s):
                return

    thread = Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_body_that_came_with_its_head_takes_no_place_and_no_system_call(
    sockets: tuple[socket.socket, socket.socket], slow_places: SlowPlaces
) -> None:
    server, _ = sockets
    server.close()  # any use of it fails
    buffer = Buffer(b'{"a": 1}GET / HTTP/1.1')

    body = _body(server, 8, buffer)
    body.receive(slow_places)

    assert body.read() == b'{"a": 1}'
    assert buffer.data == b"GET / HTTP/1.1"
    assert slow_places.entered == 0


def test_a_body_in_the_buffer_of_the_socket_takes_no_place(
    sockets: tuple[socket.socket, socket.socket], slow_places: SlowPlaces
) -> None:
    server, client = sockets
    client.sendall(b"a" * 20_000 + b"the next request")

    body = _body(server, 20_000)
    body.receive(slow_places)

    assert body.read() == b"a" * 20_000
    assert server.recv(100) == b"the next request"
    assert slow_places.entered == 0


def test_a_body_that_is_slow_but_fast_enough_is_received_in_a_place(
    sockets: tuple[socket.socket, socket.socket], slow_places: SlowPlaces
) -> None:
    server, client = sockets

    body = _body(server, 40)
    with _drip(client, b"abcd", 10, 0.02):
        body.receive(slow_places)

    assert body.read() == b"abcd" * 10
    assert (slow_places.entered, slow_places.in_use) == (1, 0)


def test_a_body_below_the_least_rate_is_too_slow(
    sockets: tuple[socket.socket, socket.socket], slow_places: SlowPlaces, short_limits: None
) -> None:
    server, client = sockets

    body = _body(server, 1_000)
    with _drip(client, b"a", 1_000, 0.01), pytest.raises(BodyTooSlow) as refusal:
        body.receive(slow_places)

    assert (refusal.value.status, refusal.value.code) == (408, "body-too-slow")
    assert (slow_places.entered, slow_places.in_use) == (1, 0)
    assert body.failed


def test_a_body_above_the_least_rate_still_ends_at_the_deadline(
    sockets: tuple[socket.socket, socket.socket], slow_places: SlowPlaces, short_limits: None
) -> None:
    server, client = sockets

    body = _body(server, 10_000_000)
    with _drip(client, b"a" * 2_000, 1_000, 0.005), pytest.raises(BodyTooSlow):
        body.receive(slow_places)


@pytest.mark.parametrize("sent_bytes", [b"", b"abc"])
def test_a_client_that_goes_away_leaves_an_incomplete_body(
    sockets: tuple[socket.socket, socket.socket], slow_places: SlowPlaces, sent_bytes: bytes
) -> None:
    server, client = sockets
    client.sendall(sent_bytes)
    client.close()

    with pytest.raises(BodyIncomplete):
        _body(server, 10).receive(slow_places)


@pytest.mark.parametrize(
    ("length", "sent_bytes", "is_closed"),
    [
        (4, b"abcd", False),
        (5, b"abcd", True),
        (None, b"", True),
        (65_535, b"a" * 65_535, False),
        (65_536, b"a" * 65_536, True),  # as much as a client could go on sending without end
    ],
)
def test_a_response_before_the_end_of_the_body_closes_the_connection(
    sockets: tuple[socket.socket, socket.socket],
    length: int | None,
    sent_bytes: bytes,
    is_closed: bool,
) -> None:
    server, client = sockets
    client.sendall(sent_bytes)
    closed: list[bool] = []

    body = _body(server, length, close_connection=lambda: closed.append(True))
    body.prepare_response()

    assert closed == [True] * is_closed
    assert body.failed is is_closed


def test_a_long_body_that_the_app_does_not_read_closes_the_connection(
    sockets: tuple[socket.socket, socket.socket], slow_places: SlowPlaces
) -> None:
    server, client = sockets
    client.sendall(b"a" * 70_000)
    closed: list[bool] = []

    body = _body(server, 70_000, close_connection=lambda: closed.append(True))
    body.receive(slow_places)
    body.prepare_response()
    assert closed == [True]

    body.read()
    body.prepare_response()
    assert closed == [True]


def test_an_app_that_only_reads_gets_the_whole_body(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    server, client = sockets
    client.sendall(b"abcd")

    assert get_input_stream(_environ(_body(server, 4)), max_content_length=100).read() == b"abcd"


def _environ(body: SocketBody) -> dict[str, object]:
    return {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": "4"}
