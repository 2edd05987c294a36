"""Run gunicorn with the product's own settings for any of the apps."""

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
_START_TIMEOUT_S = 30
# Unlike in production: a worker's restart after some 10,000 requests would affect single rounds.
_NO_WORKER_RESTART = ("--max-requests", "0")
_PRODUCT = "wsgi:app"


class ServerNotStarted(RuntimeError):
    """A server process ended, or does not listen."""


@dataclass(frozen=True)
class WebServer:
    """A running web server."""

    pid: int
    port: int
    log_file: Path

    def cpu_s(self) -> float:
        """Return the CPU seconds of master and workers so far."""
        return cpu.process_tree_s(self.pid)


@contextmanager
def serve_app(
    app: str, environ: dict[str, str], folder: Path, *, group: str = "web", source: Path = ROOT
) -> Iterator[WebServer]:
    """Serve `module:app` on a free port until the block ends; its output goes to a file.

    `source` is the folder of the code.
    """
    port = _free_port()
    log_file = folder / f"{app.partition(':')[0]}-{group}-{port}.log"
    address = {"HOST": "127.0.0.1", "PORT": str(port), "RELAY_PORT": str(port)}
    inherited_environ = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *_config_arguments(app), *_NO_WORKER_RESTART, app],
            cwd=source,
            env={**inherited_environ, **environ, **address, "GUNICORN_GROUP": group},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(process, port, log_file)
        yield WebServer(process.pid, port, log_file)
    finally:
        _stop_process(process)


def _config_arguments(app: str) -> tuple[str, ...]:
    """Return gunicorn's arguments for the configuration; it finds the product's by itself."""
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
    raise ServerNotStarted("no port is free")


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
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
    raise ServerNotStarted(f"gunicorn does not respond; its log:\n{log_file.read_text()[-2_000:]}")


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait(10)
