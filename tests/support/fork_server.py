"""Programs without their imports: forked off a process that has loaded the product already.

Half of what a short program of ours costs is loading. Where that is not what a test is about, its
program begins here, with its own arguments, environment and output, as if it had been executed.
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
    """A running program, spoken to as a `subprocess.Popen`."""

    def __init__(self, pid: int, fork_server: "ForkServer") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._fork_server = fork_server
        # Of that program for sure: a dead one keeps its pid until the loader buries it.
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
        """Fork a program off; it runs in the project's folder, and errors go to its output too."""
        request = {"command": command, "environ": environ, "new_session": new_session}
        return ForkedProcess(
            self._request(request, output, output if errors is None else errors), self
        )

    def reap(self, pid: int) -> int:
        """The exit status of a program that has ended, as `subprocess` tells it."""
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
    """This process's; begun with the first program that needs it."""
    fork_server = ForkServer()
    atexit.register(fork_server.close)
    return fork_server
