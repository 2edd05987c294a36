"""Crash points: a file is one death, and without the setting there is none."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vca.kit import failpoints


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.set_failpoint_folder(None)


def _status_of_a_child_that_passes(*names: str) -> int:
    """How a process ends that comes to these points."""
    pid = os.fork()
    if pid == 0:
        for name in names:
            failpoints.kill_if_armed(name)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_process_dies_at_a_point_that_is_armed_and_the_next_one_lives(tmp_path: Path) -> None:
    failpoints.set_failpoint_folder(tmp_path)
    (tmp_path / "calls.turn").touch()

    assert _status_of_a_child_that_passes("calls.ring", "calls.turn") == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
    assert _status_of_a_child_that_passes("calls.ring", "calls.turn") == 0


def test_without_a_folder_nobody_dies(tmp_path: Path) -> None:
    (tmp_path / "calls.turn").touch()

    assert _status_of_a_child_that_passes("calls.turn") == 0
    assert (tmp_path / "calls.turn").exists()
