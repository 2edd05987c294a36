"""Start programs by forking a process that has loaded the product already.

Loading takes half of the time of a short program. Where a test is not about loading, its program is
forked, with its own arguments, environment and output, as if it had been executed.
"""

import atexit
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import Any

from tests.support.ast_index import ROOT
from vca.kit import json

MAX_MESSAGE_BYTES = 1 << 16


class ForkedProcess:
    """A running program with the interface of `subprocess.Popen`."""

    def __init__(self, pid: int, fork_server: "ForkServer") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._fork_server = fork_server
        # The pidfd always refers to this program: a dead process keeps its pid until the server
        # reaps it.
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._pidfd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
            self.returncode = self._fork_server.reap(self.pid)
            os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A running `tests.support.fork_server_main`; it ends when its socket is closed."""

    def __init__(self) -> None:
        self._socket, child_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = Lock()
        with child_socket:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.support.fork_server_main",
                    str(child_socket.fileno()),
                ],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                pass_fds=[child_socket.fileno()],
            )

    def start(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        output: int,
        *,
        errors: int | None = None,
        new_session: bool = False,
    ) -> ForkedProcess:
        """Fork a program in the repository's folder. By default, errors go to `output` too."""
        request = {"command": command, "environ": environ, "new_session": new_session}
        return ForkedProcess(
            self._request(request, output, output if errors is None else errors), self
        )

    def reap(self, pid: int) -> int:
        """Return the exit status of a program that has ended, as `subprocess` reports it."""
        return self._request({"bury": pid})

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def _request(self, message: Mapping[str, Any], *fds: int) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(message)], fds)
            return int(self._socket.recv(MAX_MESSAGE_BYTES))


@cache
def current_fork_server() -> ForkServer:
    """Return this process's fork server; start it on first use."""
    fork_server = ForkServer()
    atexit.register(fork_server.close)
    return fork_server
