"""Child processes that end with this process, however it ends: by request, by failure, or killed.

They form a process group of their own, so that a terminal's Ctrl-C reaches only this process, which
ends them in order. The group's first member is a guardian: a shell that reads from a pipe that only
this process holds open. When this process is gone the pipe ends, and the guardian ends the group.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vca.kit.deadline import Deadline
from vca.settings import ROOT

GRACE_S = 10.0
LOG_TAIL_LINES = 15
_GUARDIAN_SCRIPT = "trap '' HUP INT TERM; read -r _; kill -s TERM 0; sleep 3; kill -s KILL 0"


class ChildEnded(Exception):
    """A process that should run forever has ended by itself."""


@dataclass(frozen=True)
class ChildProcess:
    """A child process, and the file that it writes its log to."""

    name: str
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None


class ProcessGroup:
    """Start children, watch them, and leave none behind."""

    def __init__(self, *, skip_grace: Callable[[], bool] = lambda: False) -> None:
        """Create an empty group.

        While it waits for its children to end, `skip_grace` says whether to stop waiting.
        """
        self._skip_grace = skip_grace
        self._children: list[ChildProcess] = []

    def __enter__(self) -> "ProcessGroup":
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN_SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End the children: terminate, wait up to `GRACE_S`, then kill what is left."""
        for child in self._children:
            child.process.terminate()
        grace = Deadline.after(GRACE_S)
        grace.wait_until(
            lambda: self._skip_grace() or not any(other.is_running for other in self._children)
        )
        self._signal_group(signal.SIGKILL)
        for process in (self._guardian, *(child.process for child in self._children)):
            process.wait()
        # Grandchildren were killed too. Their new parent process may need a moment to reap them.
        Deadline.after(1).wait_until(lambda: not self._signal_group(0))
        assert self._guardian.stdin is not None
        self._guardian.stdin.close()

    def start(
        self, name: str, module: str, *arguments: str, log: Path, pass_fds: Sequence[int] = ()
    ) -> None:
        """Run a Python module in the project's folder, with its output in a new file `log`."""
        with _create_private_file(log) as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                process_group=self._guardian.pid,
            )
        self._children.append(ChildProcess(name, log, process))

    def check_children(self) -> None:
        """Raise ChildEnded, with the last lines of its log, if a child has ended."""
        for child in self._children:
            if not child.is_running:
                raise ChildEnded(
                    f"{child.name} ended by itself "
                    f"({_format_exit_status(child.process.returncode)}); "
                    f"{child.log} ends with:\n{_log_tail(child.log)}"
                )

    def _signal_group(self, signal_number: int) -> bool:
        """Send a signal to the whole group. Return False if no process is left."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._guardian.pid, signal_number)
            return True
        return False


def _create_private_file(file: Path) -> BinaryIO:
    """Open a new file that only this account can read: logs name tenants and calls."""
    file.unlink(missing_ok=True)
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _format_exit_status(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


def _log_tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (nothing)"
