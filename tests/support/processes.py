"""Our programs as processes of their own, ended by their own pids, their output in a file."""

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

from tests.support import canary
from tests.support.loaded import Forked, loader
from tests.support.threads import at_once
from vca.kit import json
from vca.settings import Settings

BIN = Path(sys.executable).parent
GUNICORN = [str(BIN / "gunicorn"), "wsgi:app"]
WORKER = [str(BIN / "flask"), "worker"]
Met = TypeVar("Met")


def until(condition: Callable[[], Met], *, within_s: float = 20.0) -> Met:
    """Poll until the condition holds, and return what it returned."""
    end = time.monotonic() + within_s
    while not (met := condition()):
        assert time.monotonic() < end, f"waited {within_s} s in vain"
        time.sleep(0.02)
    return met


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@dataclass
class Program:
    """A running program."""

    process: Forked
    output: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut does; nothing of it is asked."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged; fails for a line that is not one JSON object."""
        return [json.loads(line) for line in self.output.read_bytes().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


@contextmanager
def running(command: list[str], settings: Mapping[str, str], output: Path) -> Iterator[Program]:
    """Start a program with these settings alone, and end it with the block.

    What Python runs is forked off a process that has loaded it: how a program is started and loads
    is for the tests of `flask up` and of the settings, which execute theirs.
    """
    hidden = dict.fromkeys((name.upper() for name in Settings.__dataclass_fields__), "")
    environ = {"PATH": os.environ["PATH"], **hidden, **settings}
    with output.open("ab") as file:
        process = loader().start(command, environ, file.fileno())
    try:
        yield Program(process, output)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    canary.check_output(output)


@dataclass(frozen=True)
class Answer:
    """An answer over a real socket, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def unavailable(self) -> bool:
        """Whether it is the one answer to a database that is away."""
        return self._retry_later("database-unavailable")

    @property
    def busy(self) -> bool:
        """Whether it is the one answer to a statement or a lock that took too long."""
        return self._retry_later("database-busy")

    def _retry_later(self, code: str) -> bool:
        return (
            self.status == 503
            and self.headers.get("content-type") == "application/problem+json"
            and self.headers.get("retry-after", "").isdigit()
            and self.json["code"] == code
        )


@dataclass
class Web:
    """A running gunicorn."""

    program: Program
    port: int
    key: str | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        more: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> Answer:
        """One request on a connection of its own, with `more` headers."""
        headers = {"Content-Type": "application/json", **(more or {})}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            data = json.dumps(body) if body is not None else None
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            read = response.read()
        finally:
            connection.close()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, told, read, time.monotonic() - began)

    def get(self, path: str, **options: Any) -> Answer:
        return self.ask("GET", path, **options)

    def is_well(self) -> bool:
        """Whether so many are answered at once that every worker process must have had a share."""
        answers = at_once([partial(self.get, "/healthz")] * 16)
        return all(answer.status == 200 for answer in answers)

    def as_key(self, key: str) -> "Web":
        """The same server, asked with this key."""
        return Web(self.program, self.port, key)

    def workers(self) -> set[int]:
        """The pids of the worker processes."""
        parent = self.program.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return {int(pid) for pid in children.split()}


@contextmanager
def serving(
    settings: Mapping[str, str], output: Path, command: list[str] = GUNICORN
) -> Iterator[Web]:
    """gunicorn with two workers, up when the block begins."""
    port = free_port()
    with running(command, {**settings, "PORT": str(port)}, output) as program:
        web = Web(program, port)

        def up() -> bool:
            assert program.alive, output.read_text()
            with suppress(OSError):
                return web.get("/livez").status == 200
            return False

        until(up, within_s=60)
        until(lambda: len(web.workers()) == 2)
        yield web
