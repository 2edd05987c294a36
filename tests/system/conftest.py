"""Fixtures that run `flask up` as a process and find the processes that it leaves behind."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import disk
from tests.support.fork_server import ForkedProcess, current_fork_server
from vca.devtools import embedded_postgres

ROOT = Path(__file__).resolve().parents[2]
FLASK = [sys.executable, "-m", "flask", "--app", "wsgi"]
LAST_LINE = "Ctrl-C stops everything"
TIMEOUT_S = 60.0


def wait_until(condition: Callable[[], Any]) -> Any:
    """Poll until the condition is true and return its value."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (result := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return result


def _read_process(pid: int) -> tuple[int, str] | None:
    """Return the parent's pid and the command line; None for a dead process, even a zombie."""
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):
        state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
        command_line = (folder / "cmdline").read_text().replace("\0", " ").strip()
        return None if state == "Z" else (int(parent), command_line)
    return None


def _process_table() -> dict[int, tuple[int, str]]:
    """Return the parent's pid and the command line of every live process, by pid."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return {pid: entry for pid in pids if (entry := _read_process(pid))}


@dataclass
class UpProcess:
    """A running `flask up`. Its output goes to a file, so that it never blocks on a full pipe."""

    process: "subprocess.Popen[bytes] | ForkedProcess"
    output: Path
    known_children: dict[int, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for_output(self, expected: str) -> str:
        """Wait until the output contains the expected text, and return the output."""
        wait_until(lambda: expected in self.text or self.process.poll() is not None)
        assert expected in self.text, self.text
        return self.text

    def wait_for_summary(self) -> str:
        """Wait for the summary, record the child processes, and return the output."""
        text = self.wait_for_output(LAST_LINE)
        self.known_children = self.descendants()
        return text

    def descendants(self) -> dict[int, str]:
        table, pids = _process_table(), [self.process.pid]
        for ancestor in pids:
            pids += [pid for pid, (parent, _) in table.items() if parent == ancestor]
        return {pid: table[pid][1] for pid in pids[1:]}

    def find_child(self, command_part: str) -> int:
        """Return the pid of the first direct child whose command line contains this text."""
        table = _process_table()
        return next(
            pid
            for pid, command_line in self.known_children.items()
            if command_part in command_line and table[pid][0] == self.process.pid
        )

    def surviving_children(self) -> dict[int, str]:
        """Return the recorded children that are still alive."""
        return {
            pid: command_line
            for pid, command_line in self.known_children.items()
            if _read_process(pid)
        }

    def send_signal(self, number: int) -> None:
        """Send a signal to the whole process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        self.send_signal(number)
        return self.process.wait(TIMEOUT_S)


@dataclass
class Machine:
    """A folder for the embedded Postgres and a free port: what `flask up` needs."""

    root: Path
    port: int
    runs: list[UpProcess] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.root / "postgres"

    @property
    def environment(self) -> dict[str, str]:
        settings: dict[str, str] = {
            "DATABASE_URL": f"embedded:{self.folder}",
            "APP_ENV": "development",
            "APP_NAME": "VCA under test",
            "DEBUG": "false",
            "SECRET_KEY": "a-secret-of-the-test-suite-and-no-other",
            "API_KEY_PEPPERS": "a-pepper-of-the-test-suite-and-no-other",
            "PUBLIC_BASE_URL": "",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_WORKERS": "1",
            "TELEPHONY_PROVIDER": "fake",
        }
        return os.environ | settings

    @property
    def postgres_runs(self) -> bool:
        return embedded_postgres.status(self.folder).running

    def start_up(self, **environment: str) -> UpProcess:
        """Start `flask up` in a process group of its own. It is forked with its imports done."""
        return self._start(partial(current_fork_server().start, new_session=True), environment)

    def execute_up(self) -> UpProcess:
        """Start `flask up` as a new Python process."""
        return self._start(_execute, {})

    def _start(self, start: Callable[..., Any], settings: Mapping[str, str]) -> UpProcess:
        output = self.root / f"output-{len(self.runs)}"
        with output.open("wb") as file:
            process = start([*FLASK, "up"], {**self.environment, **settings}, file.fileno())
        self.runs.append(UpProcess(process, output))
        return self.runs[-1]

    def clean_up(self) -> None:
        for run in self.runs:
            _kill(run)
        if self.folder.exists():
            embedded_postgres.stop(self.folder)
        shutil.rmtree(self.root)


def _execute(
    command: Sequence[str], environ: Mapping[str, str], output: int
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _kill(run: UpProcess) -> None:
    pids = run.known_children | run.descendants()
    for pid in [run.process.pid, *pids] if run.process.poll() is None else run.surviving_children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.process.wait()


def _free_port() -> int:
    """Return a free port below the range that the system assigns to clients.

    The port is random, because other processes look for one at the same time.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Other accounts cannot enter tmp_path, and Postgres runs as another account if we are root.
    root = Path(tempfile.mkdtemp(prefix="up-", dir=disk.fastest_folder())).resolve()
    root.chmod(0o711)
    machine = Machine(root, _free_port())
    yield machine
    machine.clean_up()
