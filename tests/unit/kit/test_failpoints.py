"""Tests of failpoints: a file kills one process, and only with the setting."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vca.kit import failpoints


@pytest.fixture(autouse=True)
def _disable_failpoints() -> Iterator[None]:
    yield
    failpoints.set_failpoint_folder(None)


def _run_child(*names: str) -> int:
    """Return the exit code of a child process that reaches these failpoints."""
    pid = os.fork()
    if pid == 0:
        for name in names:
            failpoints.kill_if_armed(name)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_file_kills_only_the_first_process_at_the_failpoint(tmp_path: Path) -> None:
    failpoints.set_failpoint_folder(tmp_path)
    (tmp_path / "calls.turn").touch()

    assert _run_child("calls.ring", "calls.turn") == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
    assert _run_child("calls.ring", "calls.turn") == 0


def test_without_a_folder_no_process_is_killed(tmp_path: Path) -> None:
    (tmp_path / "calls.turn").touch()

    assert _run_child("calls.turn") == 0
    assert (tmp_path / "calls.turn").exists()
