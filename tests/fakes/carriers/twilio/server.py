"""A fake Twilio as a real server on loopback, validated by Twilio's own OpenAPI document.

The server refuses a request or a field that is not in the document, and adds it to `complaints`.
Invalid responses of the fake itself are added too.
"""

import base64
import json
import random
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.carriers.twilio.account import Answer, TwilioAccount, TwilioError
from tests.fakes.carriers.twilio.spec import load_spec

PORTS = range(20_000, 30_000)
_PROBE_S = 0.02
_MEDIA = re.compile(r"/2010-04-01/Accounts/AC[0-9a-f]{32}/Recordings/(RE[0-9a-f]{32})\.wav")


@dataclass(frozen=True)
class Fault:
    """Replaces a response. Status 0 sends nothing; `is_truncated` cuts off the body.

    With `is_executed`, the request is executed anyway.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    is_executed: bool = False
    is_truncated: bool = False


REJECTS = Fault(400, b'{"code": 21612, "message": "No.", "more_info": "", "status": 400}')
FAILS = Fault(503, b"<html>upstream connect error</html>", {"content-type": "text/html"})
SILENT = Fault(0)


class TwilioServer(ThreadingHTTPServer):
    """The accounts and the faults to inject."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.accounts: dict[str, TwilioAccount] = {}
        self.complaints: list[str] = []
        self.faults: deque[Fault] = deque()
        self.end_silence = Event()
        self._bind()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def account(self, account_sid: str, auth_token: str) -> TwilioAccount:
        """Return an account; create it on first use."""
        return self.accounts.setdefault(account_sid, TwilioAccount(account_sid, auth_token))

    def inject_fault(self, fault: Fault, times: int = 1) -> None:
        """Make the next requests fail with this fault."""
        self.faults.extend([fault] * times)

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
    server: TwilioServer
    protocol_version = "HTTP/1.1"
    # Send a response in one piece. On a persistent connection, the second of two pieces would wait
    # for
    # the client's delayed acknowledgement of the first.
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.server.faults:
            self._apply_fault(self.server.faults.popleft(), body)
            return
        target = urlsplit(self.path)
        if media := _MEDIA.fullmatch(target.path):
            self._send_media(media[1])
            return
        status, content = self._execute(target.path, target.query, body)
        self._send(status, b"" if content is None else json.dumps(content).encode())

    def _execute(self, path: str, query: str, body: bytes) -> Answer:
        spec, headers = load_spec(), dict(self.headers.items())
        try:
            account = self._account()
            errors = spec.request_errors(self.command, path, query, headers, body)
            if errors:
                self.server.complaints += errors
                raise TwilioError(400, 20001, "; ".join(errors))
            status, content = account.handle(self.command, path, query, body)
        except TwilioError as error:
            return error.response
        self.server.complaints += spec.response_errors(
            self.command, path, query, headers, status, content
        )
        return status, content

    def _account(self) -> TwilioAccount:
        """Return the account of the login. Raise TwilioError if the path names another account."""
        credentials = self.headers.get("authorization", "").removeprefix("Basic ")
        login, _, token = base64.b64decode(credentials).decode().partition(":")
        account = self.server.accounts.get(login)
        if account is None or account.token != token or f"/{login}/" not in self.path:
            raise TwilioError(401, 20003, "Authenticate")
        return account

    def _apply_fault(self, fault: Fault, body: bytes) -> None:
        target = urlsplit(self.path)
        if fault.is_executed:
            self._execute(target.path, target.query, body)
        if not fault.status:
            self.server.end_silence.wait(30)
            self.close_connection = True
            return
        self._send(fault.status, fault.body, is_truncated=fault.is_truncated, headers=fault.headers)

    def _send_media(self, recording_sid: str) -> None:
        try:
            audio = self._account().recording_audio(recording_sid)
        except TwilioError:
            audio = None
        headers = {"content-type": "audio/x-wav"}
        self._send(404 if audio is None else 200, audio or b"", headers=headers)

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        is_truncated: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, text in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        if status != 204:
            self.send_header("content-length", str(len(body) + (1_000 if is_truncated else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or is_truncated

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def twilio_server() -> Iterator[TwilioServer]:
    """Run a Twilio until the block ends; fail if it has complaints."""
    server = TwilioServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": _PROBE_S})
    thread.start()
    try:
        yield server
    finally:
        server.end_silence.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert server.complaints == []
