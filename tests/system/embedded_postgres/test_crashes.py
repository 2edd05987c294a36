"""Recovery of the embedded Postgres after its processes are killed or its files are deleted."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg2
import pytest

from tests.system.embedded_postgres.conftest import RunSql, StartPython, StartServer
from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import roles


@pytest.fixture
def url(used_folder: Path, start_server: StartServer, run_sql: RunSql) -> str:
    """Return the URL of a running server with a committed row."""
    url = start_server(used_folder).server.migration_url
    run_sql(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    return url


@pytest.fixture
def backend(url: str) -> Iterator[int]:
    """Open a connection and return the pid of its server process."""
    connection = psycopg2.connect(url)
    pid = connection.info.backend_pid
    yield pid
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    with suppress(psycopg2.Error):
        connection.close()


@pytest.fixture
def unrelated_process(server_folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process of the server's account that is unrelated to the server."""
    with subprocess.Popen(
        ["sleep", "60"], user=embedded_postgres.server_for(server_folder).run_as
    ) as process:
        yield process
        process.kill()


def _server_pid(folder: Path) -> int:
    """Return the pid of the folder's server, which must run."""
    pid = embedded_postgres.status(folder).pid
    assert pid is not None
    return pid


def _is_dead(pid: int) -> bool:
    # os.kill(pid, 0) also finds zombies, and pid 1 of a container may never reap them.
    return not os.path.exists(f"/proc/{pid}/exe")


def _stop_initdb(folder: Path, starter: Any, wait_until: Any) -> int:
    """Stop the initdb of a first start with a signal while it works, and return its pid."""
    wait_until((folder / "data.unfinished" / "PG_VERSION").exists)
    initdb = int(Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text())
    os.kill(initdb, signal.SIGSTOP)
    return initdb


def test_a_killed_postmaster_is_replaced_without_loss_of_data(
    server_folder: Path, url: str, start_server: StartServer, run_sql: RunSql
) -> None:
    killed = _server_pid(server_folder)
    os.kill(killed, signal.SIGKILL)

    assert start_server(server_folder).started_now

    assert run_sql(url, "SELECT answer FROM kept") == [42]
    assert embedded_postgres.status(server_folder).pid != killed


def test_a_server_that_dies_while_a_start_joins_it_is_replaced(
    server_folder: Path,
    url: str,
    start_server: StartServer,
    run_sql: RunSql,
    wait_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = _server_pid(server_folder)
    ensure = roles.ensure

    def kill_and_ensure(*args: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        wait_until(lambda: _is_dead(killed))
        ensure(*args)

    monkeypatch.setattr(roles, "ensure", kill_and_ensure)

    assert start_server(server_folder).started_now

    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_a_server_recovers_after_all_its_processes_were_killed(
    server_folder: Path, url: str, start_server: StartServer, run_sql: RunSql
) -> None:
    pids = run_sql(url, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for pid in [_server_pid(server_folder), *pids]:
        os.kill(pid, signal.SIGKILL)

    assert start_server(server_folder).started_now

    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_a_pid_file_of_another_process_does_not_prevent_the_next_start(
    server_folder: Path,
    url: str,
    start_server: StartServer,
    run_sql: RunSql,
    unrelated_process: "subprocess.Popen[bytes]",
) -> None:
    pid_file = server_folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    embedded_postgres.stop(server_folder)
    # The pid now belongs to an unrelated process that the server's account could signal.
    pid_file.write_text("\n".join([str(unrelated_process.pid), *lines[1:]]))

    assert not embedded_postgres.status(server_folder).running
    assert not embedded_postgres.stop(server_folder)
    assert start_server(server_folder).started_now

    assert unrelated_process.poll() is None
    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_an_empty_pid_file_does_not_prevent_the_next_start(
    server_folder: Path, url: str, start_server: StartServer
) -> None:
    embedded_postgres.stop(server_folder)
    (server_folder / "data" / "postmaster.pid").touch()

    assert start_server(server_folder).started_now


def test_a_start_waits_for_a_backend_that_outlived_its_postmaster(
    server_folder: Path,
    url: str,
    start_server: StartServer,
    run_sql: RunSql,
    backend: int,
    wait_until: Callable[..., Any],
) -> None:
    os.kill(backend, signal.SIGSTOP)
    os.kill(_server_pid(server_folder), signal.SIGKILL)

    with pytest.raises(embedded_postgres.EmbeddedError, match="neither respond nor end"):
        start_server(server_folder, timeout_s=0.3)
    assert not _is_dead(backend)
    waker = Thread(target=lambda: os.kill(backend, signal.SIGCONT))
    waker.start()

    assert start_server(server_folder).started_now
    waker.join()
    wait_until(lambda: _is_dead(backend))
    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_a_stop_that_a_backend_delays_becomes_immediate(
    server_folder: Path,
    url: str,
    backend: int,
    wait_until: Callable[..., Any],
    start_server: StartServer,
    run_sql: RunSql,
) -> None:
    os.kill(backend, signal.SIGSTOP)
    log = embedded_postgres.status(server_folder).log

    def wake_when_immediate() -> None:
        wait_until(lambda: "received immediate shutdown request" in log.read_text())
        os.kill(backend, signal.SIGCONT)

    waker = Thread(target=wake_when_immediate)
    waker.start()

    assert embedded_postgres.stop(server_folder, timeout_s=0.2)
    waker.join()
    assert not embedded_postgres.status(server_folder).running
    assert start_server(server_folder).started_now
    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_a_start_recovers_after_a_killed_first_start(
    server_folder: Path,
    start_server: StartServer,
    start_python: StartPython,
    wait_until: Callable[..., Any],
    run_sql: RunSql,
) -> None:
    starter = start_python("start()")
    initdb = _stop_initdb(server_folder, starter, wait_until)
    starter.kill()
    starter.wait()

    # The orphaned initdb still writes to the folder, so another start must not use it.
    try:
        with pytest.raises(embedded_postgres.EmbeddedError, match="locked by another process"):
            start_server(server_folder, timeout_s=0.2)
    finally:
        os.kill(initdb, signal.SIGCONT)
    assert not (server_folder / "data").exists()
    started = start_server(server_folder)

    assert started.started_now
    assert not (server_folder / "data.unfinished").exists()
    assert run_sql(started.server.migration_url, "SELECT 1") == [1]


def test_ctrl_c_during_the_first_start_leaves_no_data(
    server_folder: Path, start_python: StartPython, wait_until: Callable[..., Any]
) -> None:
    starter = start_python("start()", start_new_session=True)
    initdb = _stop_initdb(server_folder, starter, wait_until)
    os.killpg(starter.pid, signal.SIGINT)
    os.kill(initdb, signal.SIGCONT)
    starter.wait()

    assert sorted(os.listdir(server_folder)) == ["launch.lock"]


def test_ctrl_c_during_a_start_stops_the_server_that_it_launched(
    used_folder: Path, start_python: StartPython
) -> None:
    starter = start_python(
        "from vca.devtools.embedded_postgres import roles\n"
        "def interrupted(*_): raise KeyboardInterrupt\n"
        "roles.ensure = interrupted\n"
        "start()"
    )
    starter.wait()

    assert "KeyboardInterrupt" in starter.communicate()[1]
    assert not (used_folder / "data" / "postmaster.pid").exists()
    assert (used_folder / "log" / "launch.log").exists()


def test_a_deleted_folder_of_a_running_server_is_created_anew(
    server_folder: Path,
    url: str,
    start_server: StartServer,
    run_sql: RunSql,
    wait_until: Callable[..., Any],
) -> None:
    old_pid = _server_pid(server_folder)
    shutil.rmtree(server_folder)
    assert not embedded_postgres.status(server_folder).running

    assert start_server(server_folder).started_now
    # The old postmaster ends itself like this within a minute after its pid file is deleted.
    os.kill(old_pid, signal.SIGQUIT)
    wait_until(lambda: _is_dead(old_pid))

    assert embedded_postgres.status(server_folder).running
    assert run_sql(url, "SELECT to_regclass('kept') IS NULL") == [True]
