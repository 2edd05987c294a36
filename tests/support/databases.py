"""The test server, the migrated template database, and a clone for each test process."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.errors
from sqlalchemy import make_url

from tests.support import disk, pii_sentinel, run_record
from vca.devtools import embedded_postgres
from vca.kit.db import statement_timeout_scope
from vca.registry import privileges, schema
from vca.registry.deployment import Deployment
from vca.tenancy.database import TenantDatabase
from vca.tenancy.roles import Roles

WEB, WORKER = "vca_web", "vca_worker"
DEPLOYMENT = Deployment("development", "", Roles("vca_", WEB, WORKER))
_ROOT = Path(__file__).resolve().parents[2]
_MEMORY_NEEDED_BYTES = 3 << 30

# Only for the suite's own embedded server, whose data may be lost. It writes as little as possible
# and has no replicas. JIT compilation does not pay off for a backend that lives for one test.
_FAST_UNSAFE_SETTINGS = {
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

# Roles belong to the server, so they outlive the databases they were created for.
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
class DatabaseServer:
    """A Postgres server on which the suite creates and drops databases named vca_test_….

    `url` is the owner's.
    """

    url: str
    embedded_folder: Path | None = None
    started_here: bool = False

    def stop(self, run_id: int) -> None:
        """Drop this run's databases. Stop the suite's own server if no other run uses it."""
        for name in self._run_databases():
            if _run_id(name) == run_id:
                self.drop_database(name)
        has_other_runs = any(_is_running(_run_id(name)) for name in self._run_databases())
        if not has_other_runs:
            self._run(_DROP_ROLES)
        if self.embedded_folder is not None and self.started_here and not has_other_runs:
            leave(self.embedded_folder)

    def drop_stale_databases(self) -> None:
        """Drop the databases that killed runs left behind."""
        for name in self._run_databases():
            if not _is_running(_run_id(name)):
                self.drop_database(name)

    def url_of(self, name: str) -> str:
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def clone_template(self, name: str) -> str:
        """Create a fresh copy of the template and return its URL."""
        url = self.copy_database(template_name(), name)
        self._run(pii_sentinel.FORBID_IN_JOBS_SQL, database=name)
        return url

    def copy_database(self, source: str, name: str) -> str:
        """Create a fresh copy of a database without connections and return its URL."""
        self._run(
            f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)',
            # Copying the files is faster than copying through the log, except for tiny databases.
            f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY file_copy',
            # CREATE DATABASE copies the contents, but not the privileges on the database itself.
            *privileges.database_grants(name, DEPLOYMENT.roles),
            # Commits need not survive a power failure, so they do not wait for the disk.
            f'ALTER DATABASE "{name}" SET synchronous_commit TO off',
        )
        return self.url_of(name)

    def create_empty(self, name: str) -> str:
        """Create an empty, unmigrated database and return its URL."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        try:
            self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        except psycopg2.errors.InsufficientPrivilege:
            # Autovacuum, which runs as the superuser, is connected. Postgres ends it if FORCE is
            # omitted.
            self._run(f'DROP DATABASE IF EXISTS "{name}"')

    def create_logins(self) -> None:
        """Create the logins of web and worker. An embedded server has them already."""
        for name in (WEB, WORKER):
            if not self._run(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
                self._run(f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD '{name}'")

    def create_template(self) -> None:
        """Migrate a template database, unless it exists. Two concurrent runs take turns."""
        connection = psycopg2.connect(self.url)
        try:
            with statement_timeout_scope(120):
                connection.cursor().execute("SELECT pg_advisory_xact_lock(4711)")
            if not self._exists(template_name()):
                self._create_template()
        finally:
            connection.close()

    def _create_template(self) -> None:
        unfinished_name = f"{template_name()}_making"
        self._run(f'DROP DATABASE IF EXISTS "{unfinished_name}" WITH (FORCE)')
        self._run(f'CREATE DATABASE "{unfinished_name}"')
        database = TenantDatabase(self.url_of(unfinished_name))
        schema.upgrade_public_schema(database, DEPLOYMENT)
        database.close()
        self._run(f'ALTER DATABASE "{unfinished_name}" RENAME TO "{template_name()}"')

    def _run_databases(self) -> list[str]:
        rows = self._run("SELECT datname FROM pg_database WHERE datname ~ '^vca_test_[0-9]+_'")
        return [str(row[0]) for row in rows]

    def _exists(self, name: str) -> bool:
        return bool(self._run(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def _run(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Run each statement in autocommit mode and return the rows of the last one."""
        connection = psycopg2.connect(self.url_of(database) if database else self.url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor, statement_timeout_scope(120):
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def server_folder() -> Path:
    """Return the data folder of this checkout's embedded server: in memory if it fits there.

    A tenant has a hundred files. On a disk, the file system takes more time for them than Postgres
    does for everything else.
    """
    in_memory, on_disk = _server_folders()
    return (
        in_memory
        if disk.memory_folder(needed_bytes=_MEMORY_NEEDED_BYTES) or in_memory.exists()
        else on_disk
    )


def _server_folders() -> tuple[Path, Path]:
    checkout_id = hashlib.sha256(f"{os.geteuid()} {_ROOT}".encode()).hexdigest()[:12]
    return disk.MEMORY_FOLDER / f"vca-test-{checkout_id}", _ROOT / ".vca" / "test-postgres"


def leave(*folders: Path) -> None:
    """Stop the servers in these folders; by default, wherever this checkout may have one.

    Folders in memory are deleted. On a disk, the template stays for the next run.
    """
    for folder in folders or _server_folders():
        if folder.exists():
            embedded_postgres.stop(folder)
            if folder.parent == disk.MEMORY_FOLDER:
                shutil.rmtree(folder, ignore_errors=True)


def start_server(folder: Path, *, run_id: int) -> DatabaseServer:
    """Return the server of TEST_DATABASE_URL, or start the embedded one; migrate the template.

    Every process of a run may call it; they wait for each other. `run_id` is the process id of the
    run's controller, which calls `stop_server` at the end.
    """
    url = os.environ.get("TEST_DATABASE_URL")
    with run_record.locked(run_id) as record:
        if url:
            server, started_now = DatabaseServer(url), False
        else:
            started = embedded_postgres.start(folder, extra_settings=_FAST_UNSAFE_SETTINGS)
            server = DatabaseServer(started.server.migration_url, folder)
            started_now = started.started_now
        if not record.exists():
            server.drop_stale_databases()
            server.create_logins()
            server.create_template()
            record.write_text("started" if started_now else "used")
    return server


def stop_server(run_id: int) -> None:
    """Drop a run's databases; stop the server if the run started it and no other run uses it."""
    with run_record.locked(run_id) as record:
        if not record.exists():
            return
        url = os.environ.get("TEST_DATABASE_URL")
        folder = None if url else server_folder()
        if folder is not None:
            url = embedded_postgres.status(folder).migration_url
        assert url is not None
        server = DatabaseServer(url, folder, started_here=record.read_text() == "started")
        server.stop(run_id)
        record.unlink()


def as_login(url: str, login: str) -> str:
    """Return the URL of the same database for another login of the suite."""
    password = login if make_url(url).password else None
    other = make_url(url).set(username=login, password=password)
    return other.render_as_string(hide_password=False)


def _run_id(name: str) -> int:
    return int(name.split("_")[2])


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def template_name() -> str:
    """Return a name with a digest of migrations and functions: a change makes a new template."""
    digest = hashlib.sha256()
    for tree in ("migrations", "tenant_migrations"):
        for path in sorted((_ROOT / tree).rglob("*.*")):
            if path.suffix in (".py", ".sql"):
                digest.update(path.read_bytes())
    for path in sorted((_ROOT / "vca/registry/sql").iterdir()):
        digest.update(path.read_bytes())
    for module in ("tenancy/schema", "registry/privileges", "registry/sql_functions"):
        digest.update((_ROOT / "vca" / f"{module}.py").read_bytes())
    return f"vca_test_template_{digest.hexdigest()[:12]}"
