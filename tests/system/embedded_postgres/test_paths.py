"""The location of a folder's server: URLs, folders, links and socket directories."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.system.embedded_postgres.conftest import CopyServer, RunSql, StartServer
from vca.devtools import embedded_postgres


def test_the_url_is_known_before_the_first_start_and_does_not_change(
    server_folder: Path, copy_used_server: CopyServer, start_server: StartServer
) -> None:
    url_before = embedded_postgres.server_for(server_folder).url

    server = start_server(copy_used_server(server_folder)).server

    assert server.url == url_before == embedded_postgres.server_for(server_folder).url
    assert url_before == f"postgresql://vca_web@/vca?host={server_folder}/socket&port=5432"


def test_server_for_and_status_create_no_folder(server_folder: Path) -> None:
    embedded_postgres.server_for(server_folder)
    embedded_postgres.status(server_folder)

    assert not server_folder.exists()


def test_a_relative_folder_and_a_link_to_it_are_the_same_server(
    server_folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "link").symlink_to(server_folder)
    monkeypatch.chdir(root)

    urls = {
        embedded_postgres.server_for(Path(name)).url
        for name in ("pg", "./pg", "link", str(server_folder))
    }

    assert len(urls) == 1


def test_psycopg_3_and_sqlalchemy_understand_the_urls(
    shared_server: embedded_postgres.Server,
) -> None:
    engine = create_engine(shared_server.url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == "vca_web"
    engine.dispose()

    with psycopg.connect(shared_server.migration_url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("vca_owner",)


def test_a_folder_with_a_long_path_gets_a_short_private_socket_directory(
    long_server_folder: Path,
    copy_used_server: CopyServer,
    start_server: StartServer,
    run_sql: RunSql,
) -> None:
    server = start_server(copy_used_server(long_server_folder)).server

    assert len(os.fsencode(server.socket_dir / ".s.PGSQL.5432")) < 107
    assert server.data_dir == long_server_folder / "data"
    assert server.socket_root.stat().st_mode & 0o777 == 0o700
    assert run_sql(server.url, "SELECT 1") == [1]


@pytest.mark.parametrize("name", ["a, b", "50%", "ünï", "$HOME `id` 'x' \"y\"", "-rf"])
def test_a_folder_name_may_contain_special_characters(
    root: Path, copy_used_server: CopyServer, start_server: StartServer, run_sql: RunSql, name: str
) -> None:
    server = start_server(copy_used_server(root / name)).server

    assert server.data_dir == root / name / "data"
    assert run_sql(server.url, "SELECT 1") == [1]

    assert embedded_postgres.stop(root / name)
    if server.socket_root != server.home:
        shutil.rmtree(server.socket_root)


def test_a_socket_directory_open_to_other_users_is_rejected(
    long_server_folder: Path, start_server: StartServer
) -> None:
    socket_root = embedded_postgres.server_for(long_server_folder).socket_root
    socket_root.mkdir()
    socket_root.chmod(0o777)

    operations: tuple[Callable[[Path], object], ...] = (
        start_server,
        embedded_postgres.server_for,
        embedded_postgres.status,
    )
    for operation in operations:
        with pytest.raises(embedded_postgres.EmbeddedError, match="open to other users"):
            operation(long_server_folder)

    assert not long_server_folder.exists()


def test_a_link_as_socket_directory_is_rejected(
    long_server_folder: Path, start_server: StartServer, root: Path
) -> None:
    socket_root = embedded_postgres.server_for(long_server_folder).socket_root
    socket_root.symlink_to(root)

    try:
        with pytest.raises(embedded_postgres.EmbeddedError, match="is not a directory of"):
            start_server(long_server_folder)
    finally:
        socket_root.unlink()


def test_a_folder_with_other_files_is_rejected_and_unchanged(
    server_folder: Path, start_server: StartServer
) -> None:
    server_folder.mkdir(mode=0o755)
    (server_folder / "thesis.txt").write_text("years of work")
    stat_before = server_folder.stat()

    with pytest.raises(embedded_postgres.EmbeddedError, match="contains other files"):
        start_server(server_folder)

    assert server_folder.stat().st_ctime_ns == stat_before.st_ctime_ns
    assert os.listdir(server_folder) == ["thesis.txt"]


def test_an_empty_folder_is_used_and_made_private(
    server_folder: Path, start_server: StartServer
) -> None:
    server_folder.mkdir()
    server_folder.chmod(0o755)

    start_server(server_folder)

    assert server_folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every folder")
def test_a_folder_of_another_user_is_rejected() -> None:
    with pytest.raises(embedded_postgres.EmbeddedError, match="belongs to root"):
        embedded_postgres.server_for(Path("/usr"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root has all permissions")
def test_a_permission_error_is_reported_with_its_path() -> None:
    with pytest.raises(
        embedded_postgres.EmbeddedError, match="/usr/no-such-folder: Permission denied"
    ):
        embedded_postgres.start(Path("/usr/no-such-folder"))
