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
def url(used_folder, start, sql):
    """A running server that holds a committed row."""
    url = start(used_folder).server.migration_url
    sql(url, "CREATE TABLE kept AS SELECT 42 AS answer")
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
def stranger(folder):
    """A process of the server's account that has nothing to do with the server."""
    with subprocess.Popen(
        ["sleep", "60"], user=embedded_postgres.server_for(folder).run_as
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


def test_a_killed_postmaster_is_replaced_and_what_was_committed_is_there(folder, url, start, sql):
    killed = embedded_postgres.status(folder).pid
    os.kill(killed, signal.SIGKILL)

    assert start(folder).started_now

    assert sql(url, "SELECT answer FROM kept") == [42]
    assert embedded_postgres.status(folder).pid != killed


def test_a_server_that_dies_while_a_start_joins_it_is_replaced(
    folder, url, start, sql, until, monkeypatch
):
    killed = embedded_postgres.status(folder).pid
    ensure = roles.ensure

    def too_late(*args: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        until(lambda: _gone(killed))
        ensure(*args)

    monkeypatch.setattr(roles, "ensure", too_late)

    assert start(folder).started_now

    assert sql(url, "SELECT answer FROM kept") == [42]


def test_a_server_of_which_every_process_was_killed_recovers(folder, url, start, sql):
    pids = sql(url, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for pid in [embedded_postgres.status(folder).pid, *pids]:
        os.kill(pid, signal.SIGKILL)

    assert start(folder).started_now

    assert sql(url, "SELECT answer FROM kept") == [42]


def test_a_pid_file_left_by_a_power_loss_does_not_hinder_the_next_start(
    folder, url, start, sql, stranger
):
    pid_file = folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    embedded_postgres.stop(folder)
    # The pid is a stranger's by now: one that the server's account could signal.
    pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))

    assert not embedded_postgres.status(folder).running
    assert not embedded_postgres.stop(folder)
    assert start(folder).started_now

    assert stranger.poll() is None
    assert sql(url, "SELECT answer FROM kept") == [42]


def test_an_empty_pid_file_does_not_hinder_the_next_start(folder, url, start):
    embedded_postgres.stop(folder)
    (folder / "data" / "postmaster.pid").touch()

    assert start(folder).started_now


def test_a_start_waits_for_a_backend_that_outlived_its_postmaster(
    folder, url, start, sql, backend, until
):
    os.kill(backend, signal.SIGSTOP)
    os.kill(embedded_postgres.status(folder).pid, signal.SIGKILL)

    with pytest.raises(embedded_postgres.EmbeddedError, match="neither answer nor end"):
        start(folder, timeout_s=0.3)
    assert not _gone(backend)
    waker = Thread(target=lambda: os.kill(backend, signal.SIGCONT))
    waker.start()

    assert start(folder).started_now
    waker.join()
    until(lambda: _gone(backend))
    assert sql(url, "SELECT answer FROM kept") == [42]


def test_a_stop_that_a_backend_holds_up_becomes_immediate(folder, url, backend, until, start, sql):
    os.kill(backend, signal.SIGSTOP)
    log = embedded_postgres.status(folder).log

    def wake_when_immediate() -> None:
        until(lambda: "received immediate shutdown request" in log.read_text())
        os.kill(backend, signal.SIGCONT)

    waker = Thread(target=wake_when_immediate)
    waker.start()

    assert embedded_postgres.stop(folder, timeout_s=0.2)
    waker.join()
    assert not embedded_postgres.status(folder).running
    assert start(folder).started_now
    assert sql(url, "SELECT answer FROM kept") == [42]


def test_a_starter_killed_during_the_first_start_leaves_nothing_half_made(
    folder, start, in_python, until, sql
):
    starter = in_python("start()")
    initdb = _stopped_initdb(folder, starter, until)
    starter.kill()
    starter.wait()

    # The orphaned initdb still writes there by name: nobody may begin in the same place.
    try:
        with pytest.raises(embedded_postgres.EmbeddedError, match="locked by another process"):
            start(folder, timeout_s=0.2)
    finally:
        os.kill(initdb, signal.SIGCONT)
    assert not (folder / "data").exists()
    started = start(folder)

    assert started.started_now
    assert not (folder / "data.unfinished").exists()
    assert sql(started.server.migration_url, "SELECT 1") == [1]


def test_ctrl_c_during_the_first_start_leaves_nothing(folder, in_python, until):
    starter = in_python("start()", start_new_session=True)
    initdb = _stopped_initdb(folder, starter, until)
    os.killpg(starter.pid, signal.SIGINT)
    os.kill(initdb, signal.SIGCONT)
    starter.wait()

    assert sorted(os.listdir(folder)) == ["launch.lock"]


def test_ctrl_c_while_a_start_waits_ends_the_server_that_it_launched(used_folder, in_python):
    starter = in_python(
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
    folder, url, start, sql, until
):
    old = embedded_postgres.status(folder).pid
    shutil.rmtree(folder)
    assert not embedded_postgres.status(folder).running

    assert start(folder).started_now
    # What the old postmaster does by itself, within a minute of missing its pid file.
    os.kill(old, signal.SIGQUIT)
    until(lambda: _gone(old))

    assert embedded_postgres.status(folder).running
    assert sql(url, "SELECT to_regclass('kept') IS NULL") == [True]
