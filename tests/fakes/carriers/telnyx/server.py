"""Telnyx's REST API as a real server on loopback, which the real SDK talks to.

Every request and every response is validated against `schemas`. Violations are collected in
`schema_errors`, and a test with any of them fails.
"""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, RLock, Thread
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.carriers.telnyx import schemas
from tests.fakes.carriers.telnyx.calls import TelnyxError
from tests.fakes.carriers.telnyx.operations import (
    OPERATIONS,
    Response,
    TelnyxAccount,
    TelnyxApi,
    TelnyxRequest,
)
from vca.kit import json

API_KEY = "KEY0123456789ABCDEF_of-a-test"
PORTS = range(20_000, 30_000)
_PROBE_S = 0.1
_SILENCE_S = 5
Fault = Literal["refuses", "fails", "is silent", "is busy"]
_ERRORS = {"refuses": (422, "10015"), "fails": (503, "10007"), "is busy": (429, "10011")}


class TelnyxServer(ThreadingHTTPServer):
    """A server with one account; it records the requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.lock = RLock()
        self.end_silence = Event()
        self._bind()
        self.reset()

    def reset(self) -> None:
        """Start with a new account and no requests."""
        self.end_silence.set()
        self.end_silence = Event()
        self.account = TelnyxAccount()
        self.requests: list[TelnyxRequest] = []
        self.schema_errors: list[str] = []
        self.pending_faults: list[Fault] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v2"

    @property
    def recordings_url(self) -> str:
        """Return the URL of the recordings' store, which does not belong to Telnyx."""
        return f"http://127.0.0.1:{self.server_port}/store"

    def inject_fault(self, fault: Fault, times: int = 1) -> None:
        """Make the next requests fail with this fault."""
        self.pending_faults += [fault] * times

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
        """Ignore clients that have given up."""


class _Handler(BaseHTTPRequestHandler):
    server: TelnyxServer
    protocol_version = "HTTP/1.1"
    # Send a response in one piece. On a persistent connection, the second of two pieces would wait
    # for
    # the client's delayed acknowledgement of the first.
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path.startswith("/store/"):
            self._send_recording()
        else:
            self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _handle(self) -> None:
        api_request = self._read_request()
        if self.server.pending_faults and self._apply_fault(self.server.pending_faults.pop(0)):
            return
        try:
            with self.server.lock:
                self.server.requests.append(api_request)
                schema, body = self._execute(api_request)
        except TelnyxError as error:
            self._send_problem(error.status, error.code, error.title)
            return
        self._record_errors(f"{api_request.path} answers", schemas.schema_errors(schema, body))
        self._send(200, body)

    def _read_request(self) -> TelnyxRequest:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix("/v2")
        return TelnyxRequest(self.command, path, query, json.loads(raw) if raw else None)

    def _execute(self, api_request: TelnyxRequest) -> Response:
        if self.headers.get("authorization") != f"Bearer {API_KEY}":
            raise TelnyxError(401, "10009", "Authentication failed")
        for method, template, operation, schema in OPERATIONS:
            pattern = re.sub(r"\{\w+\}", "([^/]+)", template)
            match = re.fullmatch(pattern, api_request.path)
            if match is None or method != api_request.method:
                continue
            self._check_request(api_request, template, schema)
            path_arguments = [unquote(argument) for argument in match.groups()]
            if operation is TelnyxApi.run_command:
                path_arguments.append(template.rpartition("/")[2])
            return operation(
                TelnyxApi(self.server.account, self.server.recordings_url),
                api_request,
                *path_arguments,
            )
        raise TelnyxError(404, "10005", "Resource not found")

    def _check_request(
        self, api_request: TelnyxRequest, template: str, schema: dict[str, Any] | None
    ) -> None:
        errors = schemas.schema_errors(schema, api_request.body) if schema is not None else []
        errors += schemas.vendor_errors(api_request.method, template, api_request.body)
        self._record_errors(f"{api_request.method} {api_request.path}", errors)
        if errors:
            raise TelnyxError(422, "10015", "Bad Request")

    def _record_errors(self, context: str, errors: list[str]) -> None:
        self.server.schema_errors += [f"{context}: {fault}" for fault in errors]

    def _apply_fault(self, fault: Fault) -> bool:
        if fault == "is silent":
            self.server.end_silence.wait(_SILENCE_S)
            self.close_connection = True
        else:
            status, code = _ERRORS[fault]
            self._send_problem(
                status, code, f"It {fault}", **{"retry-after": "7"} if status == 429 else {}
            )
        return True

    def _send_recording(self) -> None:
        """Send a recording. The store does not know Telnyx's keys and must never get one."""
        if "authorization" in self.headers:
            self.server.schema_errors.append("Telnyx's key was sent to the store of its recordings")
        recording = self.server.account.switch.recordings.get(self.path.rpartition("/")[2])
        self._send_bytes(200 if recording else 404, recording[1] if recording else b"", "audio/wav")

    def _send_problem(self, status: int, code: str, title: str, **headers: str) -> None:
        problem = {"errors": [{"code": code, "title": title, "detail": title}]}
        self._send(status, problem, **headers)

    def _send(self, status: int, content: Any, **headers: str) -> None:
        if isinstance(content, str):
            self._send_bytes(status, content.encode(), "text/plain")
        else:
            self._send_bytes(status, json.dumps(content), "application/json", **headers)

    def _send_bytes(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": content_type, **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def telnyx_server() -> Iterator[TelnyxServer]:
    """Run a server until the block ends."""
    server = TelnyxServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": _PROBE_S})
    thread.start()
    try:
        yield server
    finally:
        server.end_silence.set()
        server.shutdown()
        server.server_close()
        thread.join()
