"""Databases of a test's own, and tenant migrations that only a test knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from tests.support import databases, houses, owner
from tests.support.houses import Builder, Houses
from tests.support.revisions import NICKNAMES, Tree, tree
from tests.support.world import Tenant, World
from vca.kit.db import Database
from vca.tenancy import migration_runner
from vca.tenancy.session import public_session

# Making and dropping a database waits for a checkpoint each time; emptying one does not.
_EMPTY = "DROP SCHEMA IF EXISTS public, jobs CASCADE; CREATE SCHEMA public"


@pytest.fixture(scope="session")
def _server(request: pytest.FixtureRequest) -> databases.Server:
    return request.config.stash[databases.SERVER]


@pytest.fixture(scope="session")
def _empty_url(_server: databases.Server, database_url: str) -> str:
    return _server.empty(f"{make_url(database_url).database}_empty")


@pytest.fixture(scope="session")
def _houses(_server: databases.Server, _app: Flask, database_url: str) -> Houses:
    return Houses(_server, _app, f"{make_url(database_url).database}_migrated")


@pytest.fixture
def empty(_empty_url: str) -> Iterator[Database]:
    """A database with nothing in it."""
    database = Database(_empty_url)
    with public_session(database=database) as session:
        session.execute(text(_EMPTY))
    yield database
    database.close()


@pytest.fixture
def built() -> Builder:
    """Who is in the migrated database when a test begins: nobody."""
    return houses.nobody


@pytest.fixture
def dwellers(app: Flask, _houses: Houses, built: Builder) -> Iterator[Any]:
    """From here on the process uses a database of the test's own; what was made in it."""
    with _houses.entered(built) as found:
        yield found


@pytest.fixture
def migrated(dwellers: Any) -> Iterator[Database]:
    """That database, as its owner sees it."""
    with owner.database() as database:
        yield database


@pytest.fixture
def fleet_world(app: Flask, dwellers: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    """Makes tenants in that database, which the commands use too."""
    monkeypatch.setattr(migration_runner, "RETRY_PAUSES_S", (0.05, 0.05))
    return World(app)


@pytest.fixture
def owned(database_url: str) -> Iterator[Database]:
    """The database as the owner of its schemas sees it."""
    database = Database(database_url, pool_size=1)
    yield database
    database.close()


@pytest.fixture
def revisions(tmp_path: Path) -> Iterator[Tree]:
    """Where a test adds revisions of its own."""
    folder = tmp_path / "versions"
    folder.mkdir()
    with tree(folder) as made:
        yield made


@pytest.fixture
def next_revision(revisions: Tree) -> str:
    """From here on the code knows one more revision of tenants' schemas; its number."""
    return revisions.sql("nicknames", NICKNAMES)


@pytest.fixture
def four(dwellers: list[Tenant]) -> list[Tenant]:
    """Tenants that were made before the next revision, in a database that is built with them."""
    return dwellers
