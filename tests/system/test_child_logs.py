"""The logs of the processes that `make run` starts."""

from pathlib import Path

import pytest

from vca.devtools.child_processes import ProcessGroup


@pytest.mark.parametrize("exists", [False, True])
def test_only_the_account_itself_can_read_a_log(tmp_path: Path, exists: bool) -> None:
    log = tmp_path / "child.log"
    if exists:
        log.write_text("of an earlier run")
        log.chmod(0o644)

    with ProcessGroup() as group:
        group.start("child", "timeit", "-n1", "-r1", log=log)
        group._children[0].process.wait(30)

    assert log.stat().st_mode & 0o777 == 0o600
    assert "of an earlier run" not in log.read_text()
