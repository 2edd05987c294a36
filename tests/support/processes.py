"""Run the product's programs as processes, with their output in files."""

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tests.support import pii_sentinel
from tests.support.concurrency import run_concurrently
from tests.support.fork_server import ForkedProcess, current_fork_server
from vca.kit import json
from vca.settings import Settings

BIN_FOLDER = Path(sys.executable).parent
GUNICORN_COMMAND = [str(BIN_FOLDER / "gunicorn"), "wsgi:app"]
WORKER_COMMAND = [str(BIN_FOLDER / "flask"), "worker"]
Result = TypeVar("Result")


def process_environment(settings: Settings, **others: str) -> dict[str, str]:
    """Return the settings of processes for which the keys that tests create are valid.

    `others` are further settings, or replace these.
    """
    return {
        "DATABASE_URL": settings.database_url,
        "APP_ENV": "development",
        "APP_NAME": "VCA under test",
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
        "API_KEY_PEPPERS": ",".join(settings.api_key_peppers),
        "TELEPHONY_PROVIDER": "fake",
        "LOG_LEVEL": "info",
        **others,
    }


def wait_until(condition: Callable[[], Result], *, within_s: float = 20.0) -> Result:
    """Poll until the condition is true and return its value."""
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"timed out after {within_s} s"
        time.sleep(0.02)
    return result


def free_port() -> int:
    """Return a port on which nothing listens at this moment."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@dataclass
class Program:
    """A running program."""

    process: ForkedProcess
    output: Path

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL, which gives the program no chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def lines(self) -> list[dict[str, Any]]:
        """Return the logged lines; fail for a line that is not one JSON object."""
        return [json.loads(line) for line in self.output.read_bytes().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


@contextmanager
def run_program(command: list[str], settings: Mapping[str, str], output: Path) -> Iterator[Program]:
    """Start a program with these settings alone, and end it with the block.

    Python programs are forked from a process that has loaded the product. The tests of `flask up`
    and of the settings cover how programs start and load: they execute theirs.
    """
    blank_settings = dict.fromkeys((name.upper() for name in Settings.__dataclass_fields__), "")
    environ = {"PATH": os.environ["PATH"], **blank_settings, **settings}
    with output.open("ab") as file:
        process = current_fork_server().start(command, environ, file.fileno())
    try:
        yield Program(process, output)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    pii_sentinel.check_output(output)


@dataclass(frozen=True)
class HttpResponse:
    """A response over a real socket, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_unavailable(self) -> bool:
        """Return whether this is the documented response for an unreachable database."""
        return self._is_retry_later("database-unavailable")

    @property
    def is_busy(self) -> bool:
        """Return whether this is the documented response for a slow statement or lock."""
        return self._is_retry_later("database-busy")

    def _is_retry_later(self, code: str) -> bool:
        return (
            self.status == 503
            and self.headers.get("content-type") == "application/problem+json"
            and self.headers.get("retry-after", "").isdigit()
            and self.json["code"] == code
        )


@dataclass
class WebServer:
    """A running gunicorn."""

    program: Program
    port: int
    key: str | None = None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        extra_headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> HttpResponse:
        """Send a request on a connection of its own, with additional headers."""
        headers = {"Content-Type": "application/json", **(extra_headers or {})}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        started_at = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            data = json.dumps(body) if body is not None else None
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        response_headers = {name.lower(): value for name, value in response.getheaders()}
        return HttpResponse(
            response.status, response_headers, content, time.monotonic() - started_at
        )

    def get(self, path: str, **options: Any) -> HttpResponse:
        return self.request("GET", path, **options)

    def is_healthy(self) -> bool:
        """Return whether 16 concurrent requests succeed, which reach every worker process."""
        responses = run_concurrently([partial(self.get, "/healthz")] * 16)
        return all(response.status == 200 for response in responses)

    def with_key(self, key: str) -> "WebServer":
        """Return a client of the same server with this key."""
        return WebServer(self.program, self.port, key)

    def worker_pids(self) -> set[int]:
        """Return the pids of the worker processes."""
        parent = self.program.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return {int(pid) for pid in children.split()}


@contextmanager
def run_gunicorn(
    settings: Mapping[str, str], output: Path, command: list[str] = GUNICORN_COMMAND
) -> Iterator[WebServer]:
    """Run gunicorn with two workers; yield when both are up."""
    port = free_port()
    with run_program(command, {**settings, "PORT": str(port)}, output) as program:
        web = WebServer(program, port)

        def is_up() -> bool:
            assert program.is_alive, output.read_text()
            with suppress(OSError):
                return web.get("/livez").status == 200
            return False

        wait_until(is_up, within_s=60)
        wait_until(lambda: len(web.worker_pids()) == 2)
        yield web
