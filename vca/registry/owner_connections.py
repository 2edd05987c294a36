"""Connections with the owner's login, for commands that change schemas."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import current_app

from vca.kit.db import Database
from vca.kit.db.copy_driver import BulkDatabase
from vca.settings import Settings


@contextmanager
def owner_database(*, connections: int = 2) -> Iterator[Database]:
    """Open a pool of up to `connections` with the owner's login; close it on exit."""
    settings: Settings = current_app.extensions["settings"]
    owner_pool = Database(settings.owner_dsn, pool_size=connections)
    try:
        yield owner_pool
    finally:
        owner_pool.close()


@contextmanager
def owner_bulk() -> Iterator[BulkDatabase]:
    """Return the owner's login for COPY and for long DDL, with a connection per transaction."""
    settings: Settings = current_app.extensions["settings"]
    yield BulkDatabase(settings.owner_dsn)
