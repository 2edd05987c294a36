"""The server and the fresh database that a run works on."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from sqlalchemy import make_url

from benchmarks import cpu
from vca.kit import db, embedded
from vca.kit.db import Database
from vca.registry import schema

ROOT = Path(__file__).resolve().parents[1]
_FOLDER = ROOT / ".vca" / "bench-postgres"
_NAME = "vca_bench"
_LOCK = ROOT / ".vca" / "bench.lock"


class Busy(RuntimeError):
    """Another benchmark runs: both would measure each other."""


@dataclass(frozen=True)
class Postgres:
    """A migrated, empty database, and the server that it is on."""

    dsn: str
    postmaster: int
    version: str

    def run(self, statement: str, parameters: object = None) -> list[tuple[object, ...]]:
        """Execute one statement; its rows if it has any."""
        return _run(self.dsn, statement, parameters)

    def cpu_s(self) -> float:
        """CPU seconds of the whole cluster so far."""
        return cpu.tree_s(self.postmaster)


@contextmanager
def served() -> Iterator[Postgres]:
    """BENCH_DATABASE_URL's server, which must run on this machine, else an embedded one.

    Raises Busy.
    """
    with _alone():
        url = os.environ.get("BENCH_DATABASE_URL")
        if url:
            yield _fresh(url)
            return
        started = embedded.start(_FOLDER)
        try:
            yield _fresh(started.server.migration_url)
        finally:
            if started.by_this_call:
                embedded.stop(_FOLDER)


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


def _fresh(url: str) -> Postgres:
    _run(url, f"DROP DATABASE IF EXISTS {_NAME} WITH (FORCE)")
    _run(url, f"CREATE DATABASE {_NAME}")
    dsn = make_url(url).set(database=_NAME).render_as_string(hide_password=False)
    database = Database(dsn)
    with db.patience(60):
        schema.upgrade(database)
    database.close()
    return Postgres(dsn, _postmaster(dsn), str(_run(dsn, "SHOW server_version")[0][0]))


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
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
