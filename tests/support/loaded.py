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

from tests.support.source import ROOT
from vca.kit import json

LARGEST_MESSAGE = 1 << 16


class Forked:
    """A running program, spoken to as a `subprocess.Popen`."""

    def __init__(self, pid: int, loader: "Loader") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._loader = loader
        # Of that program for sure: a dead one keeps its pid until the loader buries it.
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
            self.returncode = self._loader.bury(self.pid)
            os.close(self._handle)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Loader:
    """A running `tests.support.loader`; it ends when nobody holds the other end of its socket."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.loader", str(theirs.fileno())],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        output: int,
        *,
        new_session: bool = False,
    ) -> Forked:
        """Fork a program off; it runs in the project's folder."""
        order = {"command": command, "environ": environ, "new_session": new_session}
        return Forked(self._ask(order, output), self)

    def bury(self, pid: int) -> int:
        """The exit status of a program that has ended, as `subprocess` tells it."""
        return self._ask({"bury": pid})

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def _ask(self, order: Mapping[str, Any], *fds: int) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(order)], fds)
            return int(self._socket.recv(LARGEST_MESSAGE))


@cache
def loader() -> Loader:
    """This process's; begun with the first program that needs it."""
    begun = Loader()
    atexit.register(begun.close)
    return begun
