"""Tests of a fresh installation on the oldest and the newest supported Postgres."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import make_url

from tests.support import disk
from tests.support.databases import DEPLOYMENT
from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import binaries
from vca.kit import json
from vca.kit.db import Database
from vca.registry import schema
from vca.settings import ROOT, Settings

# The logins that README describes.
LOGINS_SQL = """
CREATE ROLE prod_owner LOGIN CREATEROLE;
CREATE ROLE prod_web LOGIN NOINHERIT;
CREATE ROLE prod_worker LOGIN NOINHERIT;
"""


@dataclass(frozen=True)
class Installation:
    """A database on a server of one major version, and the settings of its three logins."""

    major: int
    environment: dict[str, str]

    def flask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a new process."""
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed; return the document that it prints."""
        process = self.flask(*arguments, "--json")
        assert process.returncode == 0, process.stdout + process.stderr
        return json.loads(process.stdout)


def _installation(major: int, server: embedded_postgres.Server, folder: Path) -> Installation:
    superuser_url = str(make_url(server.url).set(username="postgres").render_as_string(False))
    connection = psycopg2.connect(superuser_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(LOGINS_SQL)
        cursor.execute("CREATE DATABASE prod OWNER prod_owner")
    connection.close()

    def url(login: str) -> str:
        return make_url(server.url).set(username=login, database="prod").render_as_string(False)

    empty_settings = dict.fromkeys((name.upper() for name in Settings.__dataclass_fields__), "")
    return Installation(
        major,
        empty_settings
        | {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": url("prod_web"),
            "WORKER_DATABASE_URL": url("prod_worker"),
            "MIGRATION_DATABASE_URL": url("prod_owner"),
            "APP_ENV": "staging",
            "APP_NAME": "VCA",
            "DEBUG": "false",
            "SECRET_KEY": "a-secret-of-this-test-alone-and-no-other",
            "RECORDING_STORE": f"folder:{folder / 'recordings'}",
        },
    )


@pytest.fixture(params=[16, 18])
def installation(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    """Start a server that has the empty database and the logins for VCA."""
    monkeypatch.setattr(binaries, "MAJOR", request.param)
    binaries.wheel_programs.cache_clear()
    with tempfile.TemporaryDirectory(prefix="pg-", dir=disk.fastest_folder()) as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # the server's account must be able to enter the folder
        started = embedded_postgres.start(folder / "server", state_root=folder / "state")
        try:
            yield _installation(request.param, started.server, folder)
        finally:
            embedded_postgres.stop(folder / "server", state_root=folder / "state")
            binaries.wheel_programs.cache_clear()


def test_a_fresh_installation_works_with_three_logins_without_superuser(
    installation: Installation,
) -> None:
    check_before = installation.flask("db", "check")
    upgrade = installation.json("db", "upgrade")
    tenant = installation.json("tenants", "create", "--name", "Acme")
    migration = installation.json("tenants", "migrate")
    verdicts = {check["what"]: check["verdict"] for check in installation.json("db", "check")}
    doctor = installation.flask("tenants", "doctor")

    assert (check_before.returncode, "flask db upgrade" in check_before.stdout) == (1, True)
    assert (upgrade["before"], upgrade["after"]) == (None, schema.head())
    assert tenant["status"] == "active"
    assert (migration["left"], migration["failed"]) == (0, {})
    assert set(verdicts.values()) <= {"ok", "warning"}, verdicts
    assert (doctor.returncode, doctor.stdout) == (0, "No inconsistencies found.\n")
    assert installation.flask("worker", "--once").returncode == 0


def test_an_older_server_is_rejected_and_its_database_stays_empty(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OLDEST_SERVER", 19)

    with pytest.raises(schema.ServerTooOld) as error:
        schema.upgrade_public_schema(empty_database, DEPLOYMENT)

    assert str(error.value) == "PostgreSQL 18 is not supported: VCA needs PostgreSQL 19 or newer."
    assert _table_names(empty_database) == []


def _table_names(database: Database) -> list[tuple[str]]:
    connection = psycopg2.connect(database.dsn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        rows: list[tuple[str]] = cursor.fetchall()
    connection.close()
    return rows
