"""Whatever is killed, deleted or left over: the next start recovers."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg2
import pytest

from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import roles


@pytest.fixture
def url(used_folder, start_server, run_sql):
    """A running server that holds a committed row."""
    url = start_server(used_folder).server.migration_url
    run_sql(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    return url


@pytest.fixture
def backend(url):
    """An open connection, for its process in the server."""
    connection = psycopg2.connect(url)
    pid = connection.info.backend_pid
    yield pid
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    with suppress(psycopg2.Error):
        connection.close()


@pytest.fixture
def unrelated_process(server_folder):
    """A process of the server's account that has nothing to do with the server."""
    with subprocess.Popen(
        ["sleep", "60"], user=embedded_postgres.server_for(server_folder).run_as
    ) as process:
        yield process
        process.kill()


def _gone(pid: int) -> bool:
    # Not os.kill(pid, 0), which finds a zombie too: pid 1 of a container may never reap it.
    return not os.path.exists(f"/proc/{pid}/exe")


def _stopped_initdb(folder: Path, starter: Any, until: Any) -> int:
    """The pid of the initdb of a first start, which is in the middle of it and waits."""
    until((folder / "data.unfinished" / "PG_VERSION").exists)
    initdb = int(Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text())
    os.kill(initdb, signal.SIGSTOP)
    return initdb


def test_a_killed_postmaster_is_replaced_and_what_was_committed_is_there(
    server_folder, url, start_server, run_sql
):
    killed = embedded_postgres.status(server_folder).pid
    os.kill(killed, signal.SIGKILL)

    assert start_server(server_folder).started_now

    assert run_sql(url, "SELECT answer FROM kept") == [42]
    assert embedded_postgres.status(server_folder).pid != killed


def test_a_server_that_dies_while_a_start_joins_it_is_replaced(
    server_folder, url, start_server, run_sql, wait_until, monkeypatch
):
    killed = embedded_postgres.status(server_folder).pid
    ensure = roles.ensure

    def too_late(*args: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        wait_until(lambda: _gone(killed))
        ensure(*args)

    monkeypatch.setattr(roles, "ensure", too_late)

    assert start_server(server_folder).started_now

    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_a_server_of_which_every_process_was_killed_recovers(
    server_folder, url, start_server, run_sql
):
    pids = run_sql(url, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for pid in [embedded_postgres.status(server_folder).pid, *pids]:
        os.kill(pid, signal.SIGKILL)

    assert start_server(server_folder).started_now

    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_a_pid_file_left_by_a_power_loss_does_not_hinder_the_next_start(
    server_folder, url, start_server, run_sql, unrelated_process
):
    pid_file = server_folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    embedded_postgres.stop(server_folder)
    # The pid is a stranger's by now: one that the server's account could signal.
    pid_file.write_text("\n".join([str(unrelated_process.pid), *lines[1:]]))

    assert not embedded_postgres.status(server_folder).running
    assert not embedded_postgres.stop(server_folder)
    assert start_server(server_folder).started_now

    assert unrelated_process.poll() is None
    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_an_empty_pid_file_does_not_hinder_the_next_start(server_folder, url, start_server):
    embedded_postgres.stop(server_folder)
    (server_folder / "data" / "postmaster.pid").touch()

    assert start_server(server_folder).started_now


def test_a_start_waits_for_a_backend_that_outlived_its_postmaster(
    server_folder, url, start_server, run_sql, backend, wait_until
):
    os.kill(backend, signal.SIGSTOP)
    os.kill(embedded_postgres.status(server_folder).pid, signal.SIGKILL)

    with pytest.raises(embedded_postgres.EmbeddedError, match="neither respond nor end"):
        start_server(server_folder, timeout_s=0.3)
    assert not _gone(backend)
    waker = Thread(target=lambda: os.kill(backend, signal.SIGCONT))
    waker.start()

    assert start_server(server_folder).started_now
    waker.join()
    wait_until(lambda: _gone(backend))
    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_a_stop_that_a_backend_holds_up_becomes_immediate(
    server_folder, url, backend, wait_until, start_server, run_sql
):
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


def test_a_starter_killed_during_the_first_start_leaves_nothing_half_made(
    server_folder, start_server, start_python, wait_until, run_sql
):
    starter = start_python("start()")
    initdb = _stopped_initdb(server_folder, starter, wait_until)
    starter.kill()
    starter.wait()

    # The orphaned initdb still writes there by name: nobody may begin in the same place.
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


def test_ctrl_c_during_the_first_start_leaves_nothing(server_folder, start_python, wait_until):
    starter = start_python("start()", start_new_session=True)
    initdb = _stopped_initdb(server_folder, starter, wait_until)
    os.killpg(starter.pid, signal.SIGINT)
    os.kill(initdb, signal.SIGCONT)
    starter.wait()

    assert sorted(os.listdir(server_folder)) == ["launch.lock"]


def test_ctrl_c_while_a_start_waits_ends_the_server_that_it_launched(used_folder, start_python):
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


def test_a_folder_deleted_under_its_server_is_made_anew_and_not_disturbed_by_the_old_one(
    server_folder, url, start_server, run_sql, wait_until
):
    old = embedded_postgres.status(server_folder).pid
    shutil.rmtree(server_folder)
    assert not embedded_postgres.status(server_folder).running

    assert start_server(server_folder).started_now
    # What the old postmaster does by itself, within a minute of missing its pid file.
    os.kill(old, signal.SIGQUIT)
    wait_until(lambda: _gone(old))

    assert embedded_postgres.status(server_folder).running
    assert run_sql(url, "SELECT to_regclass('kept') IS NULL") == [True]
