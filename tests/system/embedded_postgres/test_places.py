"""Where a folder's server is."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from vca.devtools import embedded_postgres


def test_the_url_is_known_before_there_is_anything_and_stays(
    server_folder, copy_used_server, start_server
):
    before = embedded_postgres.server_for(server_folder).url

    server = start_server(copy_used_server(server_folder)).server

    assert server.url == before == embedded_postgres.server_for(server_folder).url
    assert before == f"postgresql://vca_web@/vca?host={server_folder}/socket&port=5432"


def test_nothing_is_made_by_asking_where_a_server_is(server_folder):
    embedded_postgres.server_for(server_folder)
    embedded_postgres.status(server_folder)

    assert not server_folder.exists()


def test_a_relative_folder_and_a_link_to_it_are_the_same_server(server_folder, root, monkeypatch):
    (root / "link").symlink_to(server_folder)
    monkeypatch.chdir(root)

    urls = {
        embedded_postgres.server_for(Path(name)).url
        for name in ("pg", "./pg", "link", str(server_folder))
    }

    assert len(urls) == 1


def test_psycopg_3_and_sqlalchemy_understand_the_urls(shared_server):
    engine = create_engine(shared_server.url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == "vca_web"
    engine.dispose()

    with psycopg.connect(shared_server.migration_url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("vca_owner",)


def test_a_folder_with_a_long_path_gets_a_short_private_socket_directory(
    long_server_folder, copy_used_server, start_server, run_sql
):
    server = start_server(copy_used_server(long_server_folder)).server

    assert len(os.fsencode(server.socket_dir / ".s.PGSQL.5432")) < 107
    assert server.data_dir == long_server_folder / "data"
    assert server.socket_root.stat().st_mode & 0o777 == 0o700
    assert run_sql(server.url, "SELECT 1") == [1]


@pytest.mark.parametrize("name", ["a, b", "50%", "ünï", "$HOME `id` 'x' \"y\"", "-rf"])
def test_a_folder_may_have_an_odd_name(root, copy_used_server, start_server, run_sql, name):
    server = start_server(copy_used_server(root / name)).server

    assert server.data_dir == root / name / "data"
    assert run_sql(server.url, "SELECT 1") == [1]

    assert embedded_postgres.stop(root / name)
    if server.socket_root != server.home:
        shutil.rmtree(server.socket_root)


def test_a_planted_socket_directory_is_refused(long_server_folder, start_server):
    planted = embedded_postgres.server_for(long_server_folder).socket_root
    planted.mkdir()
    planted.chmod(0o777)

    for refused in (start_server, embedded_postgres.server_for, embedded_postgres.status):
        with pytest.raises(embedded_postgres.EmbeddedError, match="open to other users"):
            refused(long_server_folder)

    assert not long_server_folder.exists()


def test_a_link_planted_as_socket_directory_is_refused(long_server_folder, start_server, root):
    planted = embedded_postgres.server_for(long_server_folder).socket_root
    planted.symlink_to(root)

    try:
        with pytest.raises(embedded_postgres.EmbeddedError, match="is not a directory of"):
            start_server(long_server_folder)
    finally:
        planted.unlink()


def test_a_folder_that_holds_something_else_is_left_alone(server_folder, start_server):
    server_folder.mkdir(mode=0o755)
    (server_folder / "thesis.txt").write_text("years of work")
    before = server_folder.stat()

    with pytest.raises(embedded_postgres.EmbeddedError, match="contains other files"):
        start_server(server_folder)

    assert server_folder.stat().st_ctime_ns == before.st_ctime_ns
    assert os.listdir(server_folder) == ["thesis.txt"]


def test_an_empty_folder_is_taken_and_closed_to_others(server_folder, start_server):
    server_folder.mkdir()
    server_folder.chmod(0o755)

    start_server(server_folder)

    assert server_folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use everybody's folder")
def test_another_users_folder_is_refused():
    with pytest.raises(embedded_postgres.EmbeddedError, match="belongs to root"):
        embedded_postgres.server_for(Path("/usr"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root is refused nothing")
def test_what_the_system_refuses_is_told_in_a_sentence():
    with pytest.raises(
        embedded_postgres.EmbeddedError, match="/usr/no-such-folder: Permission denied"
    ):
        embedded_postgres.start(Path("/usr/no-such-folder"))
