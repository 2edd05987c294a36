"""The server lives for itself, not for the process that started it."""

import os
import signal

import pytest

from vca.devtools import embedded_postgres


def test_the_server_outlives_its_starter(used_folder, start_python, run_sql):
    starter = start_python("print(status().pid if start() else None)")
    said, _ = starter.communicate(timeout=30)

    found = embedded_postgres.status(used_folder)

    assert starter.returncode == 0
    assert found.pid == int(said)
    assert run_sql(found.url, "SELECT 1") == [1]


def test_the_starters_ctrl_c_does_not_reach_the_server(used_folder, start_python, run_sql):
    starter = start_python("start(); print('up', flush=True); input()", start_new_session=True)
    assert starter.stdout.readline() == "up\n"
    before = embedded_postgres.status(used_folder)

    os.killpg(starter.pid, signal.SIGINT)
    starter.wait()

    assert embedded_postgres.status(used_folder) == before
    assert os.getsid(before.pid) != starter.pid
    assert run_sql(before.url, "SELECT 1") == [1]


@pytest.mark.usefixtures("used_folder")
def test_whoever_reads_the_starters_output_sees_its_end(start_python):
    read_end, write_end = os.pipe()
    starter = start_python("start(); print('up')", pass_fds=[write_end])
    os.close(write_end)

    # Both reads end when the last holder of the descriptor has closed it.
    said, _ = starter.communicate(timeout=30)
    with os.fdopen(read_end) as inherited:
        assert inherited.read() == ""
    assert said == "up\n"
