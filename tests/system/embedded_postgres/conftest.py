"""Fixtures for the embedded Postgres: folders that every account can enter, stopped at the end."""

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
from typing import Any, TypeAlias

import psycopg2
import pytest

from tests.support import disk
from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import paths

StartServer: TypeAlias = Callable[..., embedded_postgres.StartResult]
StartPython: TypeAlias = Callable[..., "subprocess.Popen[str]"]
RunSql: TypeAlias = Callable[[str, str], list[Any]]
CopyServer: TypeAlias = Callable[[Path], Path]
ReadPathModes: TypeAlias = Callable[[Path], dict[Path, tuple[int, int, int]]]

REPOSITORY = Path(__file__).resolve().parents[3]


def _wait_until(condition: Callable[[], Any], timeout_s: float = 10) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)
    return result


def _kill_servers_below(root: Path) -> None:
    # Do not use the code under test: it may be broken.
    for pid_file in root.rglob("postmaster.pid"):
        with suppress(ValueError, IndexError, ProcessLookupError, FileNotFoundError):
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
    for lock in root.rglob("life.lock"):
        with lock.open() as file:
            _wait_until(partial(_is_free, file.fileno()), 20)


def _is_free(fd: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Return a function that polls until a condition is true and returns the condition's value."""
    return _wait_until


@pytest.fixture(scope="session")
def make_root() -> Iterator[Callable[[], Path]]:
    """Return a function that creates directories which any account may enter.

    Their paths are short, unlike those of `tmp_path`: a socket's path has a length limit.
    """
    created_roots = []

    def make() -> Path:
        root = Path(tempfile.mkdtemp(prefix="pg-", dir=disk.fastest_folder())).resolve()
        root.chmod(0o711)
        created_roots.append(root)
        return root

    yield make
    for root in created_roots:
        _kill_servers_below(root)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def root(make_root: Callable[[], Path]) -> Iterator[Path]:
    root = make_root()
    yield root
    _kill_servers_below(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def server_folder(root: Path) -> Path:
    """Return the path of a data folder that does not exist yet."""
    return root / "pg"


@pytest.fixture(scope="session")
def stopped_server(make_root: Callable[[], Path]) -> Path:
    """Return a data folder whose server was started once and stopped."""
    root = make_root()
    embedded_postgres.start(root / "pg", state_root=root / "state")
    embedded_postgres.stop(root / "pg", state_root=root / "state")
    return root / "pg"


@pytest.fixture(scope="session")
def copy_used_server(stopped_server: Path) -> CopyServer:
    """Return a function that copies the folder of a stopped server: faster than a first start."""

    def copy(folder: Path) -> Path:
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["/bin/cp", "-a", "--", stopped_server, folder], check=True)
        return folder

    return copy


@pytest.fixture
def used_folder(server_folder: Path, copy_used_server: CopyServer) -> Path:
    return copy_used_server(server_folder)


@pytest.fixture
def start_server(root: Path) -> StartServer:
    """Return `embedded_postgres.start` bound to this test's state folder."""
    return partial(embedded_postgres.start, state_root=root / "state")


@pytest.fixture(scope="session")
def shared_server(
    make_root: Callable[[], Path], copy_used_server: CopyServer
) -> embedded_postgres.Server:
    """Return one running server for all tests that only read."""
    root = make_root()
    return embedded_postgres.start(copy_used_server(root / "pg"), state_root=root / "state").server


@pytest.fixture
def run_sql() -> RunSql:
    """Return a function that runs one statement in autocommit mode and returns its first column."""

    def execute(url: str, statement: str) -> list[Any]:
        connection = psycopg2.connect(url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return [row[0] for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()

    return execute


@pytest.fixture
def start_python(root: Path) -> Iterator[StartPython]:
    """Return a function that starts Python with `start`, `status`, `folder` and `json` defined."""
    processes = []

    def start(code: str, **options: Any) -> "subprocess.Popen[str]":
        preamble = (
            "import json, sys; from functools import partial; from pathlib import Path\n"
            "from vca.devtools import embedded_postgres as embedded\n"
            f"folder, root = Path({str(root / 'pg')!r}), Path({str(root / 'state')!r})\n"
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
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process:
            process.kill()


@pytest.fixture
def path_modes() -> ReadPathModes:
    """Return a function that maps each parent of a path to (owner, group, mode)."""

    def read_modes(path: Path) -> dict[Path, tuple[int, int, int]]:
        stats = {parent: parent.stat() for parent in path.parents if parent.exists()}
        return {
            parent: (path_stat.st_uid, path_stat.st_gid, stat.S_IMODE(path_stat.st_mode))
            for parent, path_stat in stats.items()
        }

    return read_modes


@pytest.fixture
def long_server_folder(root: Path) -> Iterator[Path]:
    """Return a data folder whose path is too long to append a socket's name."""
    folder = root / ("very-" * 12) / ("long-" * 12) / "pg"
    yield folder
    _kill_servers_below(root)
    shutil.rmtree(
        paths._socket_root(folder, embedded_postgres.server_for(root).account), ignore_errors=True
    )
