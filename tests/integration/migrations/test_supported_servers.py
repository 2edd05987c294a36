"""A fresh installation on the oldest and the newest supported Postgres, with README's logins."""

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

LOGINS = """
CREATE ROLE prod_owner LOGIN CREATEROLE;
CREATE ROLE prod_web LOGIN NOINHERIT;
CREATE ROLE prod_worker LOGIN NOINHERIT;
"""


@dataclass(frozen=True)
class Installation:
    """A database on a server of one major version, and the settings of its three logins."""

    major: int
    environment: dict[str, str]

    def flask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as an operator types it."""
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *words],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def json(self, *words: str) -> Any:
        """Run a command that must succeed; return the document that it prints."""
        done = self.flask(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


def _installation(major: int, server: embedded_postgres.Server, folder: Path) -> Installation:
    superuser = str(make_url(server.url).set(username="postgres").render_as_string(False))
    connection = psycopg2.connect(superuser)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(LOGINS)
        cursor.execute("CREATE DATABASE prod OWNER prod_owner")
    connection.close()

    def url(login: str) -> str:
        return make_url(server.url).set(username=login, database="prod").render_as_string(False)

    hidden = dict.fromkeys((name.upper() for name in Settings.__dataclass_fields__), "")
    return Installation(
        major,
        hidden
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
    """A server without anything of VCA's but the database and the logins."""
    monkeypatch.setattr(binaries, "MAJOR", request.param)
    binaries.wheel_programs.cache_clear()
    with tempfile.TemporaryDirectory(prefix="pg-", dir=disk.fastest_folder()) as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # the server's account must be able to enter it
        started = embedded_postgres.start(folder / "server", state_root=folder / "state")
        try:
            yield _installation(request.param, started.server, folder)
        finally:
            embedded_postgres.stop(folder / "server", state_root=folder / "state")
            binaries.wheel_programs.cache_clear()


def test_a_fresh_installation_works_with_three_logins_none_a_superuser(
    installation: Installation,
) -> None:
    before = installation.flask("db", "check")
    upgraded = installation.json("db", "upgrade")
    tenant = installation.json("tenants", "create", "--name", "Acme")
    migrated = installation.json("tenants", "migrate")
    findings = {it["what"]: it["verdict"] for it in installation.json("db", "check")}
    doctor = installation.flask("tenants", "doctor")

    assert (before.returncode, "flask db upgrade" in before.stdout) == (1, True)
    assert (upgraded["before"], upgraded["after"]) == (None, schema.head())
    assert tenant["status"] == "active"
    assert (migrated["left"], migrated["failed"]) == (0, {})
    assert set(findings.values()) <= {"ok", "warning"}, findings
    assert (doctor.returncode, doctor.stdout) == (0, "No inconsistencies found.\n")
    assert installation.flask("worker", "--once").returncode == 0


def test_an_older_server_is_refused_in_one_sentence_and_left_empty(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OLDEST_SERVER", 19)

    with pytest.raises(schema.ServerTooOld) as refused:
        schema.upgrade_public_schema(empty_database, DEPLOYMENT)

    assert str(refused.value) == "PostgreSQL 18 is not supported: VCA needs PostgreSQL 19 or newer."
    assert _tables(empty_database) == []


def _tables(database: Database) -> list[Any]:
    connection = psycopg2.connect(database.dsn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        rows = cursor.fetchall()
    connection.close()
    return rows
