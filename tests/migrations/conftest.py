"""Databases of a test's own, and a tree of tenant migrations with one revision more."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import make_url, text

from tests.support import databases
from tests.support.source import ROOT
from tests.support.world import World
from vca.kit import db
from vca.kit.db import Database
from vca.registry import schema as registry
from vca.tenancy import schema
from vca.tenancy.session import public

NEXT = '''"""Nicknames for numbers."""

from alembic import op

revision = "{next}"
down_revision = "{head}"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE phone_numbers ADD COLUMN nickname text;
        CREATE INDEX phone_numbers_nickname_idx ON phone_numbers (nickname);
    """)
'''


# Making and dropping a database waits for a checkpoint each time; emptying one does not.
_EMPTY = "DROP SCHEMA IF EXISTS public, jobs CASCADE; CREATE SCHEMA public"
# Tenants of earlier tests are out of the way when they are at the last revision there is.
_AS_NEW = (
    "UPDATE public.alembic_version SET version_num = :head",
    "DELETE FROM public.tenant_ddl WHERE revision <> :tenant_head",
    "UPDATE public.tenants SET schema_revision = :next",
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
    """A migrated database without a tenant that is behind."""
    database = Database(_migrated_url)
    heads = {"head": registry.head(), "tenant_head": schema.head(), "next": _next()}
    with public(database=database) as session:
        for statement in _AS_NEW:
            session.execute(text(statement), heads)
    yield database
    database.close()


@pytest.fixture
def owned(database_url: str) -> Iterator[Database]:
    """The database as the owner of its schemas sees it."""
    database = Database(database_url, pool_size=1)
    yield database
    database.close()


@pytest.fixture
def fleet_world(app: Flask, migrated: Database) -> World:
    """Makes tenants in a database of these tests' own."""
    db.use(migrated)
    return World(app)


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """From here on the code knows one more revision of tenants' schemas; its number."""
    tree, number = tmp_path / "tenant_migrations", _next()
    shutil.copytree(ROOT / "tenant_migrations", tree, ignore=shutil.ignore_patterns("*.pyc"))
    revision = NEXT.format(next=number, head=schema.head())
    (tree / "versions" / f"{number}_nicknames.py").write_text(revision)
    config = Config()
    config.set_main_option("script_location", str(tree))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    monkeypatch.setattr(schema, "_scripts", lambda: scripts)
    return number


def _next() -> str:
    return f"{int(schema.head()) + 1:04}"
