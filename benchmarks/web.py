"""gunicorn with the product's own settings around any of the apps."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cpu
from benchmarks.postgres import ROOT

_PORTS = range(20_000, 30_000)
_START_S = 30
# Not of the product: a worker's renewal after some 10,000 requests would fall into single rounds.
_NO_RENEWAL = ("--max-requests", "0")
_PRODUCT = "wsgi:app"


class DidNotStart(RuntimeError):
    """gunicorn ended, or nobody listens."""


@dataclass(frozen=True)
class Web:
    """A served app."""

    pid: int
    port: int
    log: Path

    def cpu_s(self) -> float:
        """CPU seconds of master and workers so far."""
        return cpu.tree_s(self.pid)


@contextmanager
def served(app: str, environ: dict[str, str], folder: Path, *, group: str = "web") -> Iterator[Web]:
    """Serve `module:app` on a free port until the block ends; stdout goes to a file in `folder`."""
    port = _free_port()
    log = folder / f"{app.partition(':')[0]}-{group}.log"
    place = {"HOST": "127.0.0.1", "PORT": str(port), "RELAY_PORT": str(port)}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *_settings(app), *_NO_RENEWAL, app],
            cwd=ROOT,
            env={**plain, **environ, **place, "GUNICORN_GROUP": group},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, port, log)
        yield Web(process.pid, port, log)
    finally:
        _end(process)


def _settings(app: str) -> tuple[str, ...]:
    """gunicorn finds the product's own settings by itself."""
    return () if app == _PRODUCT else ("--config", "benchmarks/apps/gunicorn.conf.py")


def _free_port() -> int:
    start = os.getpid() % len(_PORTS)
    port: int
    for port in (*_PORTS[start:], *_PORTS[:start]):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise DidNotStart("no port is free")


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(
                    b"GET /livez HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
                )
                if connection.recv(12).startswith(b"HTTP/1.1"):
                    return
        except OSError:
            time.sleep(0.1)
    raise DidNotStart(f"gunicorn does not serve; its log says:\n{log.read_text()[-2_000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait(10)
