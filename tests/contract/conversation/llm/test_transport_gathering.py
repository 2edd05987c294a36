"""The HTTP transport gathers data that nobody waits for, and passes the same bytes on."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from threading import Thread, Timer
from time import monotonic
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.conversation.llm.openai.conftest import connected_model
from tests.contract.conversation.llm.test_transport import CERTIFICATE, transport_to
from tests.contract.suites.llm import make_request, read_text
from tests.fakes import openai_server as openai_behaviours
from tests.fakes.openai_server import OpenAIServer, openai_server
from vca.conversation.llm import cancellation
from vca.conversation.llm.cancellation import CancelToken
from vca.conversation.llm.openai import OpenAIModel
from vca.kit.deadline import Deadline
from vca.kit.http.network import GuardedStream

LONG_S = 30.0


def gathering_stream(
    receiver: socket.socket, *, gather_s: float, deadline_s: float = LONG_S
) -> GuardedStream:
    stream = GuardedStream(receiver, Deadline.after(deadline_s), max_bytes=1_000_000)
    stream.gather_s = gather_s
    return stream


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two connected TCP sockets: the server's and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with server, client:
        yield server, client


@contextmanager
def send_later(sender: socket.socket, data: bytes) -> Iterator[None]:
    """Send data after a moment, in another packet than the data before it."""
    timer = Timer(0.02, sender.sendall, [data])
    timer.start()
    yield
    timer.join()


@pytest.mark.parametrize(
    "end",
    [
        b'"finish_reason":"stop"}',
        b'"finish_reason": "length"}',
        b"data: [DONE]\n\n",
        b"\r\n0\r\n\r\n",
    ],
)
def test_gathering_ends_with_the_answer(
    pair: tuple[socket.socket, socket.socket], end: bytes
) -> None:
    server, client = pair
    receiver = gathering_stream(client, gather_s=LONG_S)
    for split in (1, len(end) // 2):
        server.sendall(b"data: one\n\n" + end[:split])
        with send_later(server, end[split:]):
            assert receiver.receive() == b"data: one\n\n" + end


def test_gathering_ends_after_its_time(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    receiver = gathering_stream(client, gather_s=0.2)
    server.sendall(b"one")
    started_at = monotonic()

    with send_later(server, b" two"):
        assert receiver.receive() == b"one two"

    assert monotonic() - started_at >= 0.2


def test_the_deadline_bounds_gathering(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    receiver = gathering_stream(client, gather_s=LONG_S, deadline_s=0.1)
    server.sendall(b"one")
    started_at = monotonic()

    assert receiver.receive() == b"one"
    with pytest.raises(TimeoutError):
        receiver.receive()

    assert monotonic() - started_at < LONG_S / 2


def test_gathering_ends_with_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    receiver = gathering_stream(client, gather_s=LONG_S)
    server.sendall(b"one")
    server.shutdown(socket.SHUT_WR)

    assert (receiver.receive(), receiver.receive()) == (b"one", b"")


def test_data_before_a_lost_connection_is_passed_on_before_the_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    server, client = pair
    receiver = gathering_stream(client, gather_s=LONG_S)
    server.sendall(b"one")
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    Timer(0.05, server.close).start()

    assert receiver.receive() == b"one"
    with pytest.raises(ConnectionResetError):
        receiver.receive()


def test_a_full_buffer_is_passed_on(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    receiver = gathering_stream(client, gather_s=LONG_S)
    data = bytes(200_000).replace(b"\0", b"x") + b"[DONE]"
    sender = Thread(target=server.sendall, args=(data,))
    sender.start()

    received = b""
    while not received.endswith(b"[DONE]"):
        received += receiver.receive()

    sender.join()
    assert received == data


@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_the_bytes_are_the_same_however_they_are_split(data: st.DataObject) -> None:
    body = b'data: {"a": 1}\n\ndata: {"finish_reason": "stop"}\n\ndata: [DONE]\n\n\r\n0\r\n\r\n'
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=8)))
    gather_s = data.draw(st.sampled_from([0.0, 0.001, 0.01]))
    server, client = socket.socketpair()

    def send() -> None:
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            server.sendall(body[start:end])
        server.close()

    with client:
        receiver = gathering_stream(client, gather_s=gather_s)
        sender = Thread(target=send)
        sender.start()
        received = b"".join(iter(lambda: receiver.receive(), b""))
        sender.join()

    assert received == body


# --- Requests to a model ---


def send_slowly(*texts: str) -> Any:
    """Return a behaviour that sends a text every 5 ms, each in a packet of its own."""

    def send(handler: Any) -> None:
        handler.begin_response()
        for text in texts:
            handler.send_texts(text)
            handler.server.release.wait(0.005)
        handler.finish_stream()

    return send


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def model(server: OpenAIServer) -> Iterator[OpenAIModel]:
    yield from connected_model(server, timeout_s=LONG_S)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of all reads from a socket."""
    sizes: list[int] = []
    receive = GuardedStream.receive

    def receive_and_count(stream: GuardedStream) -> bytes:
        data = receive(stream)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(GuardedStream, "receive", receive_and_count)
    return sizes


@pytest.mark.parametrize(
    ("first", "gather_text", "is_gathered"),
    [
        ("We open at nine.", False, True),
        ("We open,", False, False),
        ("We open", True, True),
    ],
)
def test_text_is_gathered_once_there_is_something_to_speak(
    server: OpenAIServer,
    model: OpenAIModel,
    reads: list[int],
    first: str,
    gather_text: bool,
    is_gathered: bool,
) -> None:
    following = [" and"] * 8
    server.set_behaviours(send_slowly(first, *following))
    request = replace(make_request("Hello?"), gather_text=gather_text)

    texts = list(model.stream(request))

    assert "".join(map(str, texts)) == "".join([first, *following])
    # Without gathering, each text is read as it arrives.
    assert (len(reads) < len(following)) is is_gathered


@pytest.mark.parametrize("gather_text", [False, True])
def test_reasoning_is_gathered_if_nobody_hears_the_answer_as_it_arrives(
    server: OpenAIServer, model: OpenAIModel, reads: list[int], gather_text: bool
) -> None:
    count = 8

    def reason_slowly(handler: Any) -> None:
        handler.begin_response()
        for _ in range(count):
            handler.send_event(openai_behaviours.delta(reasoning_content="Hm."))
            handler.server.release.wait(0.005)
        handler.send_texts("We open at nine.")
        handler.finish_stream()

    server.set_behaviours(reason_slowly)
    request = replace(make_request("Hello?"), gather_text=gather_text)

    *_, text = model.stream(request)

    assert text == "We open at nine."
    assert (len(reads) < count) is gather_text


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_gathering_request_is_cancelled_at_once(is_encrypted: bool) -> None:
    tls, context = None, None
    if is_encrypted:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(CERTIFICATE)
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
    cancel_token = CancelToken()
    started_at = monotonic()

    with openai_server(tls) as server, cancellation.cancel_scope(cancel_token):
        server.set_behaviours(openai_behaviours.wait_for_disconnect)
        Timer(0.1, cancel_token.cancel).start()
        with (
            transport_to(server.url, ssl_context=context) as transport,
            closing(transport.send(b"{}", Deadline.after(LONG_S))) as response,
        ):
            response.stream.gather_s = LONG_S
            with pytest.raises(httpx2.ReadTimeout):
                response.read()
    assert monotonic() - started_at < LONG_S / 2


@pytest.mark.parametrize("gather_text", [False, True])
def test_the_answer_is_the_same_with_and_without_gathering(
    model: OpenAIModel, gather_text: bool
) -> None:
    request = replace(make_request("Hello?"), gather_text=gather_text)

    assert read_text(model.stream(request)) == openai_behaviours.TEXT
