"""The test server, the migrated template, and a clone of it for each test process."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy import make_url

from tests.support import canary, disk
from vca.devtools import embedded_postgres
from vca.kit.db import Database, statement_timeout_scope
from vca.registry import privileges, schema
from vca.registry.deployment import Deployment
from vca.tenancy.roles import Roles

WEB, WORKER = "vca_web", "vca_worker"
DEPLOYMENT = Deployment("development", "", Roles("vca_", WEB, WORKER))
_ROOT = Path(__file__).resolve().parents[2]
_ROOM = 3 << 30

# For the embedded server of the suite alone, whose data may be lost: it writes as little as it can,
# nobody replicates it, and a backend that lives for one test has no use for the machine's code.
_CARELESS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "1h",
    "autovacuum_naptime": "10min",
    "jit": "off",
    "shared_buffers": "256MB",
    "update_process_title": "off",
}

# Roles belong to the server: they outlive the databases that they were made for.
_DROP_ROLES = """
DO $$
DECLARE
    r name;
BEGIN
    FOR r IN SELECT rolname FROM pg_roles WHERE rolname ~ '^vca_t_[0-9a-f]{32}$' LOOP
        BEGIN
            EXECUTE format('DROP ROLE %I', r);
        EXCEPTION WHEN dependent_objects_still_exist OR undefined_object THEN
        END;
    END LOOP;
END $$
"""


@dataclass
class Server:
    """A Postgres server on which the suite may make and drop databases named vca_test_…

    `url` is the owner's.
    """

    url: str
    embedded_folder: Path | None = None
    started_here: bool = False

    def stop(self, run: int) -> None:
        """Drop this run's databases; end a server that the suite began and nobody else uses."""
        for name in self._of_runs():
            if _run_of(name) == run:
                self.drop(name)
        others = any(_lives(_run_of(name)) for name in self._of_runs())
        if not others:
            self._run(_DROP_ROLES)
        if self.embedded_folder is not None and self.started_here and not others:
            leave(self.embedded_folder)

    def sweep(self) -> None:
        """Drop what runs that were killed have left behind."""
        for name in self._of_runs():
            if not _lives(_run_of(name)):
                self.drop(name)

    def named(self, name: str) -> str:
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def clone(self, name: str) -> str:
        """A fresh copy of the template under `name`; its URL."""
        url = self.copy(template_name(), name)
        self._run(canary.NO_JOB_NAMES_IT, database=name)
        return url

    def copy(self, source: str, name: str) -> str:
        """A fresh copy under `name` of a database that nobody uses; its URL."""
        self._run(
            f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)',
            # By its files: through the log is slower for all but the smallest.
            f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY file_copy',
            # A database's own rights are not copied with what is in it.
            *privileges.database_grants(name, DEPLOYMENT.roles),
            # What a power cut would lose is of no interest here; nobody waits for the disk.
            f'ALTER DATABASE "{name}" SET synchronous_commit TO off',
        )
        return self.named(name)

    def empty(self, name: str) -> str:
        """A fresh, unmigrated database under `name`; its URL."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{name}"')
        return self.named(name)

    def drop(self, name: str) -> None:
        try:
            self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        except psycopg2.errors.InsufficientPrivilege:
            # Autovacuum is at work in it, as the superuser; without FORCE Postgres ends it itself.
            self._run(f'DROP DATABASE IF EXISTS "{name}"')

    def make_logins(self) -> None:
        """The web's and the worker's, which an embedded server has already."""
        for name in (WEB, WORKER):
            if not self._run(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
                self._run(f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD '{name}'")

    def make_template(self) -> None:
        """Migrate a database to clone from, unless it is there; two runs at once take turns."""
        connection = psycopg2.connect(self.url)
        try:
            with statement_timeout_scope(120):
                connection.cursor().execute("SELECT pg_advisory_xact_lock(4711)")
            if not self._exists(template_name()):
                self._make_template()
        finally:
            connection.close()

    def _make_template(self) -> None:
        making = f"{template_name()}_making"
        self._run(f'DROP DATABASE IF EXISTS "{making}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{making}"')
        database = Database(self.named(making))
        schema.upgrade_public_schema(database, DEPLOYMENT)
        database.close()
        self._run(f'ALTER DATABASE "{making}" RENAME TO "{template_name()}"')

    def _of_runs(self) -> list[str]:
        rows = self._run("SELECT datname FROM pg_database WHERE datname ~ '^vca_test_[0-9]+_'")
        return [str(row[0]) for row in rows]

    def _exists(self, name: str) -> bool:
        return bool(self._run(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def _run(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Statements one by one, each in no transaction but its own; the rows of the last."""
        connection = psycopg2.connect(self.named(database) if database else self.url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor, statement_timeout_scope(120):
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


SERVER = pytest.StashKey[Server]()


def place() -> Path:
    """The folder of this checkout's embedded server: in memory, where there is room for it.

    A tenant is a hundred files, on which a disk's file system spends more than Postgres on all
    else.
    """
    in_memory, on_disk = _places()
    return in_memory if disk.in_memory(room=_ROOM) or in_memory.exists() else on_disk


def _places() -> tuple[Path, Path]:
    whose = hashlib.sha256(f"{os.geteuid()} {_ROOT}".encode()).hexdigest()[:12]
    return disk.MEMORY / f"vca-test-{whose}", _ROOT / ".vca" / "test-postgres"


def leave(*folders: Path) -> None:
    """End the servers in these folders, else wherever one of this checkout's may be.

    What lies in memory is given back; on a disk the template waits for the next run.
    """
    for folder in folders or _places():
        if folder.exists():
            embedded_postgres.stop(folder)
            if folder.parent == disk.MEMORY:
                shutil.rmtree(folder, ignore_errors=True)


def start(folder: Path) -> Server:
    """TEST_DATABASE_URL's server, else the embedded one; with the template migrated."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        server = Server(url)
    else:
        started = embedded_postgres.start(folder, extra_settings=_CARELESS)
        server = Server(started.server.migration_url, folder, started.started_now)
    server.sweep()
    server.make_logins()
    server.make_template()
    return server


def as_login(url: str, login: str) -> str:
    """The URL of the same database for another login of the suite."""
    password = login if make_url(url).password else None
    other = make_url(url).set(username=login, password=password)
    return other.render_as_string(hide_password=False)


def _run_of(name: str) -> int:
    return int(name.split("_")[2])


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def template_name() -> str:
    """Named after what is in it, so that a change of any migration makes a new one."""
    digest = hashlib.sha256()
    for tree in ("migrations", "tenant_migrations"):
        for path in sorted((_ROOT / tree).rglob("*.py")):
            digest.update(path.read_bytes())
    for path in ("vca/tenancy/schema.py", "vca/registry/privileges.py"):
        digest.update((_ROOT / path).read_bytes())
    return f"vca_test_template_{digest.hexdigest()[:12]}"
