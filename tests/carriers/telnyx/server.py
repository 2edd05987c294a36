"""Telnyx's REST API on loopback, a real server that the real SDK talks to: it keeps what it did.

Every request and every answer is held against `schemas`; what does not fit is in `faults`, and a
test ends red with any.
"""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, RLock, Thread
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.carriers.telnyx import schemas
from tests.carriers.telnyx.calls import Refused
from tests.carriers.telnyx.operations import OPERATIONS, Account, Answer, Api, Asked
from vca.kit import json

KEY = "KEY0123456789ABCDEF_of-a-test"
PORTS = range(20_000, 30_000)
_PROBE_S = 0.1
_SILENT_S = 5
Fault = Literal["refuses", "fails", "is silent", "is busy"]
_ANSWERS = {"refuses": (422, "10015"), "fails": (503, "10007"), "is busy": (429, "10011")}


class TelnyxServer(ThreadingHTTPServer):
    """One account, with what was asked of it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.lock = RLock()
        self.waking = Event()
        self._bind()
        self.reset()

    def reset(self) -> None:
        """A new account, of which nothing was asked."""
        self.waking.set()
        self.waking = Event()
        self.account = Account()
        self.asked: list[Asked] = []
        self.faults: list[str] = []
        self.failing: list[Fault] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v2"

    @property
    def store(self) -> str:
        """Where recordings lie: somebody else's."""
        return f"http://127.0.0.1:{self.server_port}/store"

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Let the next requests fail so."""
        self.failing += [fault] * times

    def _bind(self) -> None:
        for port in random.sample(PORTS, 200):
            try:
                return super().__init__(("127.0.0.1", port), _Handler)
            except OSError:
                continue
        raise RuntimeError("no free port")

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for this host's name.
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that gave up."""


class _Handler(BaseHTTPRequestHandler):
    server: TelnyxServer
    protocol_version = "HTTP/1.1"
    # An answer leaves in one piece: the second of two would wait until the client's system has
    # acknowledged the first, which takes its time on a line that is kept open.
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path.startswith("/store/"):
            self._store()
        else:
            self._do()

    def do_POST(self) -> None:
        self._do()

    def do_PATCH(self) -> None:
        self._do()

    def do_DELETE(self) -> None:
        self._do()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _do(self) -> None:
        asked = self._asked()
        if self.server.failing and self._failed(self.server.failing.pop(0)):
            return
        try:
            with self.server.lock:
                self.server.asked.append(asked)
                schema, answer = self._answered(asked)
        except Refused as refused:
            self._refuse(refused.status, refused.code, refused.title)
            return
        self._check(f"{asked.path} answers", schemas.faults(schema, answer))
        self._send(200, answer)

    def _asked(self) -> Asked:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix("/v2")
        return Asked(self.command, path, query, json.loads(raw) if raw else None)

    def _answered(self, asked: Asked) -> Answer:
        if self.headers.get("authorization") != f"Bearer {KEY}":
            raise Refused(401, "10009", "Authentication failed")
        for method, template, operation, schema in OPERATIONS:
            pattern = re.sub(r"\{\w+\}", "([^/]+)", template)
            found = re.fullmatch(pattern, asked.path)
            if found is None or method != asked.method:
                continue
            self._judge(asked, template, schema)
            words = [unquote(word) for word in found.groups()]
            if operation is Api.command:
                words.append(template.rpartition("/")[2])
            return operation(Api(self.server.account, self.server.store), asked, *words)
        raise Refused(404, "10005", "Resource not found")

    def _judge(self, asked: Asked, template: str, schema: dict[str, Any] | None) -> None:
        wrong = schemas.faults(schema, asked.body) if schema is not None else []
        wrong += schemas.vendors_faults(asked.method, template, asked.body)
        self._check(f"{asked.method} {asked.path}", wrong)
        if wrong:
            raise Refused(422, "10015", "Bad Request")

    def _check(self, where: str, wrong: list[str]) -> None:
        self.server.faults += [f"{where}: {fault}" for fault in wrong]

    def _failed(self, fault: Fault) -> bool:
        if fault == "is silent":
            self.server.waking.wait(_SILENT_S)
            self.close_connection = True
        else:
            status, code = _ANSWERS[fault]
            self._refuse(
                status, code, f"It {fault}", **{"retry-after": "7"} if status == 429 else {}
            )
        return True

    def _store(self) -> None:
        """It knows nothing of Telnyx's keys, and should never see one."""
        if "authorization" in self.headers:
            self.server.faults.append("Telnyx's key was sent to the store of its recordings")
        kept = self.server.account.switch.recordings.get(self.path.rpartition("/")[2])
        self._send_bytes(200 if kept else 404, kept[1] if kept else b"", "audio/wav")

    def _refuse(self, status: int, code: str, title: str, **headers: str) -> None:
        answer = {"errors": [{"code": code, "title": title, "detail": title}]}
        self._send(status, answer, **headers)

    def _send(self, status: int, answer: Any, **headers: str) -> None:
        if isinstance(answer, str):
            self._send_bytes(status, answer.encode(), "text/plain")
        else:
            self._send_bytes(status, json.dumps(answer), "application/json", **headers)

    def _send_bytes(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": content_type, **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def telnyx_server() -> Iterator[TelnyxServer]:
    """A server that answers until the block ends."""
    server = TelnyxServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": _PROBE_S})
    thread.start()
    try:
        yield server
    finally:
        server.waking.set()
        server.shutdown()
        server.server_close()
        thread.join()
