"""The server and the fresh databases that a run works on."""

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
from vca.kit import db, embedded
from vca.kit.db import Database
from vca.registry import schema
from vca.registry.deployment import Deployment
from vca.tenancy.roles import Roles

ROOT = Path(__file__).resolve().parents[1]
WEB, WORKER = "vca_web", "vca_worker"
BASE_URL = "https://bench.example"
# Not the product's: on a server that holds more than this, nothing else's roles are dropped.
ROLE_PREFIX = "vcabench_"
_NAME = "vca_bench"
_TOLD = ("server_version", "shared_buffers")
_LOCK = ROOT / ".vca" / "bench.lock"
_PATIENCE_S = 600
_STOP_S = 120
# Of a server of its own: where Postgres's manual begins. The default of 128 MB does not hold the
# catalogue of a thousand tenants.
_SHARE_OF_MEMORY = 4
_OURS = "SELECT rolname FROM pg_roles WHERE rolname ~ '^vcabench_t_[0-9a-f]{32}$'"


class Busy(RuntimeError):
    """Another benchmark runs: both would measure each other."""


@dataclass(frozen=True)
class Postgres:
    """A migrated, empty database, how each login reaches it, and the server that it is on."""

    dsn: str
    deployment: Deployment
    postmaster: int
    version: str
    shared_buffers: str

    @property
    def web_dsn(self) -> str:
        """How the web logs in; `dsn` is the owner's."""
        return _as_login(self.dsn, self.deployment.roles.web)

    def environ(self) -> dict[str, str]:
        """The settings of a production's processes that say where the database is."""
        return {
            "DATABASE_URL": self.web_dsn,
            "MIGRATION_DATABASE_URL": self.dsn,
            "WORKER_DATABASE_URL": _as_login(self.dsn, self.deployment.roles.worker),
            "PUBLIC_BASE_URL": BASE_URL,
            "TENANT_ROLE_PREFIX": ROLE_PREFIX,
        }

    def run(self, statement: str, parameters: object = None) -> list[tuple[object, ...]]:
        """Execute one statement as the owner; its rows if it has any."""
        return _run(self.dsn, statement, parameters)

    def cpu_s(self) -> float:
        """CPU seconds of the whole cluster so far."""
        return cpu.tree_s(self.postmaster)


@contextmanager
def served() -> Iterator[Postgres]:
    """A fresh database on BENCH_DATABASE_URL's server, else on an embedded one of its own.

    The URL is that of a login that may create databases and roles, on this machine. The embedded
    server is in a temporary folder, and gone at the end. Raises Busy.
    """
    with _alone(), _server() as url:
        try:
            yield fresh(url)
        finally:
            drop_unless_embedded(url, _NAME)


@contextmanager
def _server() -> Iterator[str]:
    url = os.environ.get("BENCH_DATABASE_URL")
    if url:
        yield url
        return
    # Not made here: the server's account could not enter what is private to root.
    folder = Path(tempfile.gettempdir()) / f"vca-bench-{os.getpid()}"
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    buffers = {"shared_buffers": f"{memory_mb // _SHARE_OF_MEMORY}MB"}
    started = embedded.start(folder, more_settings=buffers)
    try:
        yield started.server.migration_url
    finally:
        embedded.stop(folder, timeout_s=_STOP_S)
        for path in (folder, started.server.home, started.server.sockets):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Raises Busy when a benchmark of this checkout runs already."""
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another benchmark of this checkout runs; wait for it") from None
        yield


def fresh(url: str, name: str = _NAME, web: str = WEB, worker: str = WORKER) -> Postgres:
    """A migrated database on the server of `url`, with logins that are made if need be."""
    for login in (web, worker):
        if not _run(url, "SELECT 1 FROM pg_roles WHERE rolname = %s", (login,)):
            _run(url, f"CREATE ROLE {login} LOGIN NOINHERIT PASSWORD '{login}'")
    _drop(url, name)
    _run(url, f"CREATE DATABASE {name}")
    dsn = make_url(url).set(database=name).render_as_string(hide_password=False)
    whose = Deployment("development", BASE_URL, Roles(ROLE_PREFIX, web, worker))
    database = Database(dsn)
    schema.upgrade(database, whose)
    database.close()
    version, buffers = (str(_run(dsn, f"SHOW {name}")[0][0]) for name in _TOLD)
    return Postgres(dsn, whose, _postmaster(dsn), version, buffers)


def _drop(url: str, name: str) -> None:
    _run(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def drop_unless_embedded(url: str, name: str) -> None:
    """Drop the database, and the roles, which outlive it; an embedded server goes as a whole."""
    if not os.environ.get("BENCH_DATABASE_URL"):
        return
    server = make_url(url).set(database="postgres").render_as_string(hide_password=False)
    _drop(server, name)
    for (role,) in _run(server, _OURS):
        with suppress(psycopg2.errors.DependentObjectsStillExist):
            _run(server, f'DROP ROLE "{role}"')


def _as_login(url: str, login: str) -> str:
    password = login if make_url(url).password else None
    other = make_url(url).set(username=login, password=password)
    return other.render_as_string(hide_password=False)


def _postmaster(dsn: str) -> int:
    """The parent of a backend, found while that is connected; raises cpu.NotHere."""
    connection = psycopg2.connect(dsn)
    try:
        pid = connection.get_backend_pid()
        if not cpu.name(pid).startswith("postgres"):
            raise cpu.NotHere("the database server does not run on this machine")
        return cpu.parent(pid)
    finally:
        connection.close()


def _run(url: str, statement: str, parameters: object = None) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor, db.patience(_PATIENCE_S):
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
