"""The Postgres server and the new databases of a run."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.errors
from sqlalchemy import make_url

from benchmarks import cpu
from vca.devtools import embedded_postgres
from vca.kit import db
from vca.kit.db import Database
from vca.registry import schema
from vca.registry.deployment import Deployment
from vca.tenancy.roles import Roles

ROOT = Path(__file__).resolve().parents[1]
WEB_LOGIN, WORKER_LOGIN = "vca_web", "vca_worker"
BASE_URL = "https://bench.example"
# Not the product's prefix, so that no other roles are dropped on a shared server.
ROLE_PREFIX = "vcabench_"
_DATABASE_NAME = "vca_bench"
_REPORTED_SETTINGS = ("server_version", "shared_buffers")
_LOCK_FILE = ROOT / ".vca" / "bench.lock"
_STATEMENT_TIMEOUT_S = 600
_STOP_TIMEOUT_S = 120
# The embedded server's shared_buffers are a quarter of the memory, where Postgres's manual starts.
# The default of 128 MB does not hold the catalogue of a thousand tenants.
_MEMORY_DIVISOR = 4
_SETTLE_STATEMENTS = (
    "ANALYZE public.tenants, public.dids, public.api_keys",
    "VACUUM (ANALYZE) pg_catalog.pg_class, pg_catalog.pg_attribute, pg_catalog.pg_index,"
    " pg_catalog.pg_constraint, pg_catalog.pg_namespace, pg_catalog.pg_depend",
)
_SELECT_TENANT_ROLES = "SELECT rolname FROM pg_roles WHERE rolname ~ '^vcabench_t_[0-9a-f]{32}$'"


class BenchmarkRunning(RuntimeError):
    """Another benchmark is running; each would distort the other's results."""


@dataclass(frozen=True)
class BenchmarkDatabase:
    """A migrated, empty database with its server and logins."""

    dsn: str
    deployment: Deployment
    postmaster_pid: int
    version: str
    shared_buffers: str

    @property
    def web_dsn(self) -> str:
        """The connection string of the web login; `dsn` is the owner's."""
        return _url_for_login(self.dsn, self.deployment.roles.web)

    def environ(self) -> dict[str, str]:
        """Return the settings that tell production processes where the database is."""
        return environ_of(self.dsn, self.deployment.roles.web, self.deployment.roles.worker)

    def execute(self, statement: str, parameters: object = None) -> list[tuple[object, ...]]:
        """Execute one statement as the owner; return its rows, if any."""
        return _execute(self.dsn, statement, parameters)

    def analyze_tables(self) -> None:
        """Update the planner's statistics and remove dead rows from the catalogue."""
        for statement in _SETTLE_STATEMENTS:
            self.execute(statement)

    def cpu_s(self) -> float:
        """Return the CPU seconds of the whole cluster so far."""
        return cpu.process_tree_s(self.postmaster_pid)


@contextmanager
def serve_database() -> Iterator[BenchmarkDatabase]:
    """Create a database on the server of BENCH_DATABASE_URL, or else on a new embedded server.

    The URL needs a login that may create databases and roles, and a server on this machine. The
    embedded server lives in a temporary folder that is removed at the end. Raises BenchmarkRunning.
    """
    with _exclusive_lock(), _serve_postgres() as url:
        try:
            yield create_database(url)
        finally:
            drop_unless_embedded(url, _DATABASE_NAME)


@contextmanager
def _serve_postgres() -> Iterator[str]:
    url = os.environ.get("BENCH_DATABASE_URL")
    if url:
        yield url
        return
    # The server creates the folder: its account could not enter a folder that belongs to root.
    folder = Path(tempfile.gettempdir()) / f"vca-bench-{os.getpid()}"
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    buffers = {"shared_buffers": f"{memory_mb // _MEMORY_DIVISOR}MB"}
    started = embedded_postgres.start(folder, extra_settings=buffers)
    try:
        yield started.server.migration_url
    finally:
        embedded_postgres.stop(folder, timeout_s=_STOP_TIMEOUT_S)
        for path in (folder, started.server.home, started.server.socket_root):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _exclusive_lock() -> Iterator[None]:
    """Hold the lock of this checkout; raises BenchmarkRunning if another benchmark holds it."""
    _LOCK_FILE.parent.mkdir(exist_ok=True)
    with _LOCK_FILE.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchmarkRunning(
                "another benchmark of this checkout is running; wait until it has finished"
            ) from None
        yield


def create_database(
    url: str, name: str = _DATABASE_NAME, web: str = WEB_LOGIN, worker: str = WORKER_LOGIN
) -> BenchmarkDatabase:
    """Create a migrated database on the server of `url`; create the logins if they are missing."""
    dsn = create_empty_database(url, name, web, worker)
    deployment = Deployment("development", BASE_URL, Roles(ROLE_PREFIX, web, worker))
    database = Database(dsn)
    schema.upgrade_public_schema(database, deployment)
    database.close()
    version, buffers = (str(_execute(dsn, f"SHOW {name}")[0][0]) for name in _REPORTED_SETTINGS)
    return BenchmarkDatabase(dsn, deployment, _find_postmaster_pid(dsn), version, buffers)


def create_empty_database(
    url: str, name: str, web: str = WEB_LOGIN, worker: str = WORKER_LOGIN
) -> str:
    """Create an empty database, and the logins if they are missing; return the owner's URL."""
    for login in (web, worker):
        if not _execute(url, "SELECT 1 FROM pg_roles WHERE rolname = %s", (login,)):
            _execute(url, f"CREATE ROLE {login} LOGIN NOINHERIT PASSWORD '{login}'")
    _drop_database(url, name)
    _execute(url, f"CREATE DATABASE {name}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def environ_of(dsn: str, web: str = WEB_LOGIN, worker: str = WORKER_LOGIN) -> dict[str, str]:
    """Return the settings of production processes for the database of the owner's `dsn`."""
    return {
        "DATABASE_URL": _url_for_login(dsn, web),
        "MIGRATION_DATABASE_URL": dsn,
        "WORKER_DATABASE_URL": _url_for_login(dsn, worker),
        "PUBLIC_BASE_URL": BASE_URL,
        "TENANT_ROLE_PREFIX": ROLE_PREFIX,
    }


def _drop_database(url: str, name: str) -> None:
    _execute(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def drop_unless_embedded(url: str, name: str) -> None:
    """Drop the database and its tenant roles, which outlive it.

    An embedded server is removed as a whole, so nothing is dropped there.
    """
    if not os.environ.get("BENCH_DATABASE_URL"):
        return
    server = make_url(url).set(database="postgres").render_as_string(hide_password=False)
    _drop_database(server, name)
    for (role,) in _execute(server, _SELECT_TENANT_ROLES):
        with suppress(psycopg2.errors.DependentObjectsStillExist):
            _execute(server, f'DROP ROLE "{role}"')


def _url_for_login(url: str, login: str) -> str:
    password = login if make_url(url).password else None
    login_url = make_url(url).set(username=login, password=password)
    return login_url.render_as_string(hide_password=False)


def _find_postmaster_pid(dsn: str) -> int:
    """Return the process id of the postmaster, the parent of a connected backend.

    Raises cpu.ProcessNotLocal.
    """
    connection = psycopg2.connect(dsn)
    try:
        pid = connection.get_backend_pid()
        if not cpu.process_name(pid).startswith("postgres"):
            raise cpu.ProcessNotLocal("the database server does not run on this machine")
        return cpu.parent_pid(pid)
    finally:
        connection.close()


def _execute(url: str, statement: str, parameters: object = None) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor, db.statement_timeout_scope(_STATEMENT_TIMEOUT_S):
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
