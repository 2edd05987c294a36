"""A carrier in a process that survives kills; it remembers every call that it was asked to place.

`carrier_adapter` sends it requests over HTTP. It dials once for each request, so that a test can
detect a call that VCA dials twice.
"""

import base64
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

from vca.kit import json

PORTS = range(20_000, 30_000)
AUDIO = b"RIFF....WAVE" + bytes(8_000)
_PROBE_S = 0.1


@dataclass
class CarrierCall:
    """A call at the carrier. `state` is the token of a call that VCA placed."""

    provider_call_id: str
    state: str = ""
    is_over: bool = False
    is_recorded: bool = False
    audio: bytes | None = None


class CarrierServer(ThreadingHTTPServer):
    """HTTP server of the carrier, with its calls. Tests wait on a condition, not by sleeping."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.calls: dict[str, CarrierCall] = {}
        self.dials: Counter[str] = Counter()
        self._calls_by_reference: dict[str, CarrierCall] = {}
        self._changed = Condition()
        self._bind()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add_inbound_call(self, provider_call_id: str) -> CarrierCall:
        """Add an inbound call, or return the one with this id."""
        with self._changed:
            return self.calls.setdefault(provider_call_id, CarrierCall(provider_call_id))

    def end_call(self, call: CarrierCall) -> None:
        """End a call. A recording, if there is one, can be fetched from then on."""
        with self._changed:
            call.is_over = True
            call.audio = AUDIO if call.is_recorded else None

    def await_dialled(self, reference: str, within_s: float) -> CarrierCall | None:
        """Wait for the call with our reference; None if it was not placed in time."""
        with self._changed:
            self._changed.wait_for(lambda: reference in self._calls_by_reference, within_s)
            return self._calls_by_reference.get(reference)

    def place_call(self, *, reference: str, state: str) -> str:
        with self._changed:
            self.dials[reference] += 1
            call = CarrierCall(f"out-{reference}-{self.dials[reference]}", state)
            self.calls[call.provider_call_id] = call
            self._calls_by_reference.setdefault(reference, call)
            self._changed.notify_all()
        return call.provider_call_id

    def find_call(self, *, reference: str) -> str | None:
        call = self._calls_by_reference.get(reference)
        return call.provider_call_id if call else None

    def look_up(self, *, call_id: str) -> bool | None:
        """Return whether the call has ended; None for an unknown call."""
        call = self.calls.get(call_id)
        return call.is_over if call else None

    def hang_up(self, *, call_id: str) -> None:
        if call := self.calls.get(call_id):
            self.end_call(call)

    def recording(self, *, call_id: str) -> str | None:
        call = self.calls.get(call_id)
        return base64.b64encode(call.audio).decode() if call and call.audio else None

    def delete_recording(self, *, call_id: str) -> None:
        if call := self.calls.get(call_id):
            call.audio = None

    def _bind(self) -> None:
        for port in random.sample(PORTS, 200):
            try:
                return super().__init__(("127.0.0.1", port), _Handler)
            except OSError:
                continue
        raise RuntimeError("no free port")

    def server_bind(self) -> None:
        # HTTPServer.server_bind() would look up the host name, which may be slow.
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disappear: tests kill them."""


class _Handler(BaseHTTPRequestHandler):
    server: CarrierServer

    def do_POST(self) -> None:
        arguments = json.loads(self.rfile.read(int(self.headers["content-length"])))
        methods: dict[str, Callable[..., Any]] = {
            f"/{method.__name__}": method
            for method in (
                self.server.place_call,
                self.server.find_call,
                self.server.look_up,
                self.server.hang_up,
                self.server.recording,
                self.server.delete_recording,
            )
        }
        body = json.dumps(methods[self.path](**arguments))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def carrier_server() -> Iterator[CarrierServer]:
    """Run a carrier server until the block ends."""
    server = CarrierServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": _PROBE_S})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
