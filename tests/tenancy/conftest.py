"""A witness beside the pool, and pools of the test's own."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from tests.support.evidence import Evidence
from vca.kit.db import Database
from vca.settings import Settings


@pytest.fixture(scope="session")
def evidence(database_url: str) -> Iterator[Evidence]:
    """The database as nobody's session sees it."""
    witness = Evidence(database_url)
    yield witness
    witness.close()


@pytest.fixture
def pool(app: Flask, settings: Settings) -> Iterator[Callable[..., Database]]:
    """Makes pools of a given size; closed at the end."""
    made: list[Database] = []

    def make(size: int, **options: int) -> Database:
        made.append(Database(settings.database_dsn, pool_size=size, **options))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def owned(database_url: str) -> Iterator[Database]:
    """The database as the owner of its schemas sees it."""
    database = Database(database_url, pool_size=1)
    yield database
    database.close()
