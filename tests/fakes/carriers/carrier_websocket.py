"""A carrier's end of a socket: what it tells, and what it is told, each with a deadline."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from threading import Thread
from typing import Any, NoReturn
from urllib.parse import urlsplit

from flask import Flask, abort
from simple_websocket import Client, ConnectionClosed
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.support.processes import free_port
from vca.kit import json
from vca.servers import relay

TIMEOUT_S = 10.0


class CarrierWebSocket:
    """An open socket, whose `setup` has been told if there was one to tell."""

    def __init__(
        self, url: str, *, setup: Mapping[str, Any] | None = None, headers: Any = None
    ) -> None:
        self.client = Client.connect(url, headers=headers or {})
        if setup is not None:
            self.send("setup", **setup)

    def send(self, kind: str, **fields: Any) -> None:
        self.client.send(json.dumps({"type": kind, **fields}).decode())

    def say(self, text: str) -> str:
        """The caller speaks; the answer."""
        self.send("prompt", voicePrompt=text, lang="en-US", last=True)
        return self.receive_answer()

    def press(self, keys: str) -> None:
        for key in keys:
            self.send("dtmf", digit=key)

    def receive_frame(self, within_s: float = TIMEOUT_S) -> dict[str, Any]:
        """The next frame; fails if none comes in time. Raises ConnectionClosed."""
        data = self.client.receive(timeout=within_s)
        assert data is not None, f"nothing was said in {within_s} s"
        frame: dict[str, Any] = json.loads(data)
        return frame

    def receive_answer(self) -> str:
        """All that is said, up to the last of it."""
        text = ""
        while True:
            frame = self.receive_frame()
            assert frame["type"] == "text", frame
            text += frame["token"]
            if frame["last"]:
                return text.strip()

    def receive_end(self) -> str:
        """With what word it was ended, whatever was said before; closes it as carriers do."""
        frame = self.receive_frame()
        while frame["type"] != "end":
            frame = self.receive_frame()
        self.close()
        return str(frame["handoffData"])

    def receive_close_code(self) -> int:
        """With what code we closed it, having said nothing."""
        try:
            data = self.client.receive(timeout=TIMEOUT_S)
        except ConnectionClosed:
            return int(self.client.close_reason)
        self.close()
        raise AssertionError(f"it was told {data!r}")

    def close(self) -> None:
        """Hang up."""
        with suppress(ConnectionClosed, OSError):
            self.client.close()


def handshake_is_refused(url: str, headers: Mapping[str, str]) -> bool:
    """Whether a handshake is answered with no socket."""
    target = urlsplit(url)
    connection = HTTPConnection(target.netloc, timeout=TIMEOUT_S)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    try:
        connection.request("GET", target.path, headers={**upgrade, **key, **headers})
        return connection.getresponse().status in (403, 404)
    finally:
        connection.close()


class _QuietRequestHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def run_relay() -> Iterator[str]:
    """The product's sockets on loopback, in this process; where they are, up to the carrier."""

    def reject(provider: str, action: str) -> NoReturn:
        abort(403)

    app = Flask("relay", static_folder=None)
    relay.install(app, on_invalid_signature=reject)
    port = free_port()
    server = make_server(
        "127.0.0.1", port, app, threaded=True, request_handler=_QuietRequestHandler
    )
    server.daemon_threads = False
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"ws://127.0.0.1:{port}/telephony/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
