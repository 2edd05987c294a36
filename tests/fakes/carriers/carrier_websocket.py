"""A carrier's end of the voice WebSocket; every read has a deadline."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from socket import SHUT_RDWR
from threading import Thread
from typing import Any, NoReturn
from urllib.parse import urlsplit

from flask import Flask, abort
from simple_websocket import Client, ConnectionClosed
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.processes import free_port
from tests.support.services import app_services
from vca.kit import json
from vca.servers import relay
from vca.services import EXTENSION

TIMEOUT_S = 10.0
# simple-websocket's close reason of a connection without a close frame.
NO_CLOSE_FRAME = 1005


class CarrierWebSocket:
    """An open WebSocket. If there is a `setup` message, it has been sent."""

    def __init__(
        self, url: str, *, setup: Mapping[str, Any] | None = None, headers: Any = None
    ) -> None:
        self.client = Client.connect(url, headers=headers or {})
        if setup is not None:
            self.send("setup", **setup)

    def send(self, kind: str, **fields: Any) -> None:
        self.client.send(json.dumps({"type": kind, **fields}).decode())

    def say(self, text: str) -> str:
        """Send what the caller says and return the response."""
        self.send("prompt", voicePrompt=text, lang="en-US", last=True)
        return self.receive_answer()

    def press(self, keys: str) -> None:
        for key in keys:
            self.send("dtmf", digit=key)

    def receive_frame(self, within_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Return the next frame; fail if none arrives in time. Raise ConnectionClosed."""
        data = self.client.receive(timeout=within_s)
        assert data is not None, f"no frame within {within_s} s"
        frame: dict[str, Any] = json.loads(data)
        return frame

    def receive_answer(self) -> str:
        """Return the text of all frames up to the last one of a response."""
        text = ""
        while True:
            frame = self.receive_frame()
            assert frame["type"] == "text", frame
            text += str(frame["token"])
            if frame["last"]:
                return text.strip()

    def receive_end(self) -> str:
        """Skip frames until the end message, close the WebSocket, and return the handoff data."""
        frame = self.receive_frame()
        while frame["type"] != "end":
            frame = self.receive_frame()
        self.close()
        return str(frame["handoffData"])

    def receive_close_code(self) -> int:
        """Return the code with which the product closes the WebSocket; fail if it sends a frame."""
        try:
            data = self.client.receive(timeout=TIMEOUT_S)
        except ConnectionClosed:
            return int(self.client.close_reason)
        self.close()
        raise AssertionError(f"received {data!r} instead of a close")

    def wait_for_drop(self) -> None:
        """Wait until the product ends the connection without a close frame."""
        frame = "a frame"
        with suppress(ConnectionClosed):
            while frame := self.client.receive(timeout=TIMEOUT_S):
                pass
        assert frame is not None, f"the connection is open after {TIMEOUT_S} s"
        assert self.client.close_reason == NO_CLOSE_FRAME

    def break_connection(self) -> None:
        """End the connection without a close frame."""
        with suppress(OSError):
            self.client.sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the WebSocket."""
        with suppress(ConnectionClosed, OSError):
            self.client.close()


def handshake_is_refused(url: str, headers: Mapping[str, str]) -> bool:
    """Return whether a handshake is refused with 403 or 404."""
    return handshake_status(url, headers) in (403, 404)


def handshake_status(url: str, headers: Mapping[str, str]) -> int:
    """Return the status of the response to a handshake."""
    target = urlsplit(url)
    connection = HTTPConnection(target.netloc, timeout=TIMEOUT_S)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    try:
        connection.request("GET", target.path, headers={**upgrade, **key, **headers})
        return connection.getresponse().status
    finally:
        connection.close()


class _QuietRequestHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def run_relay(
    *, count_refusal: Callable[[], None] = lambda: None, threads: int = 128
) -> Iterator[str]:
    """Serve the product's voice WebSockets on loopback; yield their base URL."""

    def reject(provider: str, action: str) -> NoReturn:
        count_refusal()
        abort(403)

    app = Flask("relay", static_folder=None)
    app.before_request(lambda: app.extensions.update({EXTENSION: app_services()}))
    relay.install(
        app,
        count_refusal=count_refusal,
        reject_signature=reject,
        threads=threads,
    )
    port = free_port()
    server = make_server(
        "127.0.0.1", port, app, threaded=True, request_handler=_QuietRequestHandler
    )
    server.daemon_threads = False  # type: ignore[attr-defined] # a threading server
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"ws://127.0.0.1:{port}/telephony/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
