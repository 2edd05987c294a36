"""Databases of a test's own, and tenant migrations that only a test knows."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from tests.support import databases
from tests.support.revisions import NICKNAMES, Tree, tree
from tests.support.world import Tenant, World
from vca.kit import db
from vca.kit.db import Database
from vca.registry import schema as registry
from vca.tenancy import fleet, schema
from vca.tenancy.session import public

# Making and dropping a database waits for a checkpoint each time; emptying one does not.
_EMPTY = "DROP SCHEMA IF EXISTS public, jobs CASCADE; CREATE SCHEMA public"
_AS_NEW = (
    "UPDATE public.alembic_version SET version_num = :head",
    "DELETE FROM public.tenant_ddl WHERE revision <> :tenant_head",
    "TRUNCATE public.tenants, public.dids, public.api_keys, public.did_misses",
    "DELETE FROM jobs.procrastinate_jobs",
)


@pytest.fixture(scope="session")
def _server(request: pytest.FixtureRequest) -> databases.Server:
    return request.config.stash[databases.SERVER]


@pytest.fixture(scope="session")
def _empty_url(_server: databases.Server, database_url: str) -> str:
    return _server.empty(f"{make_url(database_url).database}_empty")


@pytest.fixture(scope="session")
def _migrated_url(_server: databases.Server, database_url: str) -> str:
    return _server.clone(f"{make_url(database_url).database}_migrated")


@pytest.fixture
def empty(_empty_url: str) -> Iterator[Database]:
    """A database with nothing in it."""
    database = Database(_empty_url)
    with public(database=database) as session:
        session.execute(text(_EMPTY))
    yield database
    database.close()


@pytest.fixture
def migrated(_migrated_url: str) -> Iterator[Database]:
    """A migrated database without a tenant; schemas of earlier tests are in nobody's way."""
    database = Database(_migrated_url)
    heads = {"head": registry.head(), "tenant_head": schema.head()}
    with public(database=database) as session:
        for statement in _AS_NEW:
            session.execute(text(statement), heads)
    yield database
    database.close()


@pytest.fixture
def fleet_world(app: Flask, migrated: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Makes tenants in a database of these tests' own, which the commands use too."""
    web = databases.as_login(migrated.dsn, databases.WEB)
    settings = replace(
        app.extensions["settings"], database_url=web, migration_database_url=migrated.dsn
    )
    monkeypatch.setitem(app.extensions, "settings", settings)
    monkeypatch.setattr(fleet, "PAUSES_S", (0.05, 0.05))
    pool = db.use(Database(web))
    yield World(app)
    pool.close()


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
def four(fleet_world: World) -> list[Tenant]:
    """Tenants that were made before the next revision."""
    return [fleet_world.tenant(name) for name in ("Acme", "Globex", "Initech", "Hooli")]
