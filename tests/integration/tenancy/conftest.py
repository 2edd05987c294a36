"""A witness beside the pool, and pools of the test's own."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from tests.support.db_snapshot import SnapshotChecker
from vca.kit.db import Database
from vca.settings import Settings


@pytest.fixture(scope="session")
def db_snapshot(database_url: str) -> Iterator[SnapshotChecker]:
    """The database as nobody's session sees it."""
    checker = SnapshotChecker(database_url)
    yield checker
    checker.close()


@pytest.fixture
def make_pool(app: Flask, settings: Settings) -> Iterator[Callable[..., Database]]:
    """Makes pools of a given size; closed at the end."""
    pools: list[Database] = []

    def make(size: int, **options: int) -> Database:
        pools.append(Database(settings.database_dsn, pool_size=size, **options))
        return pools[-1]

    yield make
    for database in pools:
        database.close()


@pytest.fixture
def owner_database(database_url: str) -> Iterator[Database]:
    """The database as the owner of its schemas sees it."""
    database = Database(database_url, pool_size=1)
    yield database
    database.close()
