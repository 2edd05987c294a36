"""The owner's way to the database, for commands that change schemas."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import current_app

from vca.kit.config import Settings
from vca.kit.db import Database
from vca.kit.db.bulk import Bulk


@contextmanager
def database(*, connections: int = 2) -> Iterator[Database]:
    """A pool of up to `connections` under the owner's login, closed on leaving."""
    settings: Settings = current_app.extensions["settings"]
    owner = Database(settings.owner_dsn, pool_size=connections)
    try:
        yield owner
    finally:
        owner.close()


@contextmanager
def bulk() -> Iterator[Bulk]:
    """The owner's login for COPY and for DDL of any length, a connection for each transaction."""
    settings: Settings = current_app.extensions["settings"]
    yield Bulk(settings.owner_dsn)
