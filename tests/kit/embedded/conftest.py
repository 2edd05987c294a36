"""Folders that every account can reach, and an end for every server that was started in them."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.support import disk
from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import paths

REPOSITORY = Path(__file__).resolve().parents[3]


def _until(condition: Callable[[], Any], timeout_s: float = 10) -> Any:
    end = time.monotonic() + timeout_s
    while not (met := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return met


def _end_servers_below(place: Path) -> None:
    # Not through the code under test, which may be what is broken.
    for pid_file in place.rglob("postmaster.pid"):
        with suppress(ValueError, IndexError, ProcessLookupError, FileNotFoundError):
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
    for lock in place.rglob("life.lock"):
        with lock.open() as file:
            _until(lambda file=file: _is_free(file.fileno()), 20)


def _is_free(fd: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Poll until the condition holds, and return what it returned."""
    return _until


@pytest.fixture(scope="session")
def new_place() -> Iterator[Callable[[], Path]]:
    """Make directories that any account may pass through, with short paths, unlike tmp_path."""
    made = []

    def make() -> Path:
        place = Path(tempfile.mkdtemp(prefix="pg-", dir=disk.quick())).resolve()
        place.chmod(0o711)
        made.append(place)
        return place

    yield make
    for place in made:
        _end_servers_below(place)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def place(new_place: Callable[[], Path]) -> Iterator[Path]:
    place = new_place()
    yield place
    _end_servers_below(place)
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def folder(place: Path) -> Path:
    """A folder that does not exist yet."""
    return place / "pg"


@pytest.fixture(scope="session")
def stopped_server(new_place: Callable[[], Path]) -> Path:
    """A folder whose server was started once and stopped."""
    place = new_place()
    embedded_postgres.start(place / "pg", state_root=place / "state")
    embedded_postgres.stop(place / "pg", state_root=place / "state")
    return place / "pg"


@pytest.fixture(scope="session")
def used(stopped_server: Path) -> Callable[[Path], Path]:
    """Make the folder one that a server has used before, which is quicker than a first start."""

    def copy(folder: Path) -> Path:
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["/bin/cp", "-a", "--", stopped_server, folder], check=True)
        return folder

    return copy


@pytest.fixture
def used_folder(folder: Path, used: Callable[[Path], Path]) -> Path:
    return used(folder)


@pytest.fixture
def start(place: Path) -> Callable[..., embedded_postgres.StartResult]:
    """`start` with a state folder of the test's own."""
    return partial(embedded_postgres.start, state_root=place / "state")


@pytest.fixture(scope="session")
def shared(new_place: Callable[[], Path], used: Callable[[Path], Path]) -> embedded_postgres.Server:
    """One running server for all tests that only look."""
    place = new_place()
    return embedded_postgres.start(used(place / "pg"), state_root=place / "state").server


@pytest.fixture
def sql() -> Callable[..., Any]:
    """Run one statement in a transaction of its own and return its first column."""

    def run(url: str, statement: str) -> list[Any]:
        connection = psycopg2.connect(url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return [row[0] for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()

    return run


@pytest.fixture
def in_python(place: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Begin a Python process that has `start`, `status`, `folder` and `json` at hand."""
    begun = []

    def begin(code: str, **options: Any) -> "subprocess.Popen[str]":
        preamble = (
            "import json, sys; from functools import partial; from pathlib import Path\n"
            "from vca.devtools import embedded_postgres as embedded\n"
            f"folder, root = Path({str(place / 'pg')!r}), Path({str(place / 'state')!r})\n"
            "start = partial(embedded.start, folder, state_root=root)\n"
            "status = partial(embedded.status, folder, state_root=root)\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", preamble + code],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        with process:
            process.kill()


@pytest.fixture
def modes() -> Callable[[Path], dict[Path, tuple[int, int, int]]]:
    """Owner, group and mode of everything above a path."""

    def look(path: Path) -> dict[Path, tuple[int, int, int]]:
        found = {above: above.stat() for above in path.parents if above.exists()}
        return {
            above: (at.st_uid, at.st_gid, stat.S_IMODE(at.st_mode)) for above, at in found.items()
        }

    return look


@pytest.fixture
def long_folder(place: Path) -> Iterator[Path]:
    """A folder whose own path leaves no room for a socket's."""
    folder = place / ("very-" * 12) / ("long-" * 12) / "pg"
    yield folder
    _end_servers_below(place)
    shutil.rmtree(
        paths._socket_root(folder, embedded_postgres.server_for(place).account), ignore_errors=True
    )
