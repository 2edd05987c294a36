"""The server is independent of the process that started it."""

import os
import signal
from pathlib import Path

import pytest

from tests.system.embedded_postgres.conftest import RunSql, StartPython
from vca.devtools import embedded_postgres


def test_the_server_outlives_its_starter(
    used_folder: Path, start_python: StartPython, run_sql: RunSql
) -> None:
    starter = start_python("print(status().pid if start() else None)")
    output, _ = starter.communicate(timeout=30)

    status = embedded_postgres.status(used_folder)

    assert starter.returncode == 0
    assert status.pid == int(output)
    assert run_sql(status.url, "SELECT 1") == [1]


def test_the_starters_ctrl_c_does_not_reach_the_server(
    used_folder: Path, start_python: StartPython, run_sql: RunSql
) -> None:
    starter = start_python("start(); print('up', flush=True); input()", start_new_session=True)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    status_before = embedded_postgres.status(used_folder)

    os.killpg(starter.pid, signal.SIGINT)
    starter.wait()

    assert embedded_postgres.status(used_folder) == status_before
    assert status_before.pid is not None
    assert os.getsid(status_before.pid) != starter.pid
    assert run_sql(status_before.url, "SELECT 1") == [1]


@pytest.mark.usefixtures("used_folder")
def test_the_server_holds_no_output_descriptor_of_its_starter(start_python: StartPython) -> None:
    read_end, write_end = os.pipe()
    starter = start_python("start(); print('up')", pass_fds=[write_end])
    os.close(write_end)

    # Both reads end when the last process has closed the descriptor.
    output, _ = starter.communicate(timeout=30)
    with os.fdopen(read_end) as inherited:
        assert inherited.read() == ""
    assert output == "up\n"
