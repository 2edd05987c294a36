"""`flask up` as a process of its own, and what it and its children leave behind."""

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
from tests.support.loaded import Forked, loader
from vca.devtools import embedded_postgres

ROOT = Path(__file__).resolve().parents[2]
FLASK = [sys.executable, "-m", "flask", "--app", "wsgi"]
LAST_LINE = "Ctrl-C stops it all"
PATIENCE_S = 60.0


def until(condition: Callable[[], Any]) -> Any:
    """Poll until the condition holds, and return what it returned."""
    end = time.monotonic() + PATIENCE_S
    while not (met := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return met


def _process(pid: int) -> tuple[int, str] | None:
    """Its parent, and how it was called; None for one that is dead, buried or not."""
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):
        state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
        called = (folder / "cmdline").read_text().replace("\0", " ").strip()
        return None if state == "Z" else (int(parent), called)
    return None


def _table() -> dict[int, tuple[int, str]]:
    """Every process that is not dead already: its parent, and how it was called."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return {pid: found for pid in pids if (found := _process(pid))}


@dataclass
class Up:
    """A running `flask up`; its output is a file, so that nothing waits for a reader."""

    process: "subprocess.Popen[bytes] | Forked"
    output: Path
    seen: dict[int, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.output.read_text()

    def says(self, words: str) -> str:
        """What it has printed as soon as `words` are in it."""
        until(lambda: words in self.text or self.process.poll() is not None)
        assert words in self.text, self.text
        return self.text

    def summary(self) -> str:
        """The summary, when it stands there; the children are known from now on."""
        text = self.says(LAST_LINE)
        self.seen = self.descendants()
        return text

    def descendants(self) -> dict[int, str]:
        table, family = _table(), [self.process.pid]
        for member in family:
            family += [pid for pid, (parent, _) in table.items() if parent == member]
        return {pid: table[pid][1] for pid in family[1:]}

    def child(self, words: str) -> int:
        """The pid of the first of its own children that was called so."""
        table = _table()
        return next(
            pid
            for pid, called in self.seen.items()
            if words in called and table[pid][0] == self.process.pid
        )

    def left(self) -> dict[int, str]:
        """Those of its children that still live."""
        return {pid: called for pid, called in self.seen.items() if _process(pid)}

    def ask(self, number: int) -> None:
        """A signal as a terminal sends it: to the whole process group."""
        os.killpg(self.process.pid, number)

    def end(self, number: int = signal.SIGINT) -> int:
        """Ask it to end, and its exit status."""
        self.ask(number)
        return self.process.wait(PATIENCE_S)


@dataclass
class Machine:
    """A machine to run VCA on: a folder for the embedded Postgres, and a free port."""

    place: Path
    port: int
    runs: list[Up] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.place / "postgres"

    @property
    def environment(self) -> dict[str, str]:
        own = {
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
        return os.environ | own

    @property
    def postgres_runs(self) -> bool:
        return embedded_postgres.status(self.folder).running

    def up(self, **environment: str) -> Up:
        """Begin `flask up`, a process group as a shell would make it; its own imports are done."""
        return self._begin(partial(loader().start, new_session=True), environment)

    def execute_up(self) -> Up:
        """The same, from nothing."""
        return self._begin(_execute, {})

    def _begin(self, start: Callable[..., Any], more: Mapping[str, str]) -> Up:
        output = self.place / f"output-{len(self.runs)}"
        with output.open("wb") as file:
            process = start([*FLASK, "up"], self.environment | more, file.fileno())
        self.runs.append(Up(process, output))
        return self.runs[-1]

    def clear(self) -> None:
        for run in self.runs:
            _end(run)
        if self.folder.exists():
            embedded_postgres.stop(self.folder)
        shutil.rmtree(self.place)


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


def _end(run: Up) -> None:
    family = run.seen | run.descendants()
    for pid in [run.process.pid, *family] if run.process.poll() is None else run.left():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.process.wait()


def _free_port() -> int:
    """Below those that the system gives to clients; at random, since others look for one too."""
    while True:
        port = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not tmp_path: nobody else may pass through that, and as root Postgres runs as somebody else.
    place = Path(tempfile.mkdtemp(prefix="up-", dir=disk.quick())).resolve()
    place.chmod(0o711)
    machine = Machine(place, _free_port())
    yield machine
    machine.clear()
