"""Fixtures for migration tests: databases for these tests only, and additional revisions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from tests.support import admin_db, database_templates, databases
from tests.support.database_templates import Builder, DatabaseTemplates
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import NICKNAMES_SQL, RevisionTree, open_revision_tree
from tests.support.services import open_database
from vca.kit.backoff import BackOff
from vca.registry import schema as registry_schema
from vca.tenancy import migration_runner
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import public_session

# Creating and dropping a database waits for a checkpoint each time; emptying one does not.
_EMPTY_SQL = "DROP SCHEMA IF EXISTS public, jobs CASCADE; CREATE SCHEMA public"


@pytest.fixture(scope="session")
def _database_server(request: pytest.FixtureRequest) -> databases.DatabaseServer:
    server: databases.DatabaseServer = request.getfixturevalue("database_server")
    return server


@pytest.fixture(scope="session")
def _empty_url(_database_server: databases.DatabaseServer, database_url: str) -> str:
    return _database_server.create_empty(f"{make_url(database_url).database}_empty")


@pytest.fixture(scope="session")
def _database_templates(
    _database_server: databases.DatabaseServer, _app: Flask, database_url: str
) -> DatabaseTemplates:
    return DatabaseTemplates(_database_server, _app, f"{make_url(database_url).database}_migrated")


@pytest.fixture
def empty_database(_empty_url: str) -> Iterator[TenantDatabase]:
    """Return an empty database."""
    database = open_database(_empty_url)
    with public_session(database=database) as session:
        session.execute(text(_EMPTY_SQL))
    yield database
    database.close()


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of the database template, which has no tenant unless overridden."""
    return database_templates.empty


@pytest.fixture
def template_payload(
    app: Flask, _database_templates: DatabaseTemplates, template_builder: Builder
) -> Iterator[Any]:
    """Switch the process to a copy of the template and return the builder's result."""
    with _database_templates.use_copy(template_builder) as payload:
        yield payload


@pytest.fixture
def migrated_database(template_payload: Any) -> Iterator[TenantDatabase]:
    """Open the copy of the template as its owner."""
    with admin_db.open_database() as database:
        yield database


@pytest.fixture
def migration_world(app: Flask, template_payload: Any, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """Return a factory of tenants in the copy of the template, which CLI commands use too.

    Shorten the pauses between the retries of a tenant migration.
    """
    monkeypatch.setattr(migration_runner, "BACK_OFF", BackOff((0.05, 0.05), jitter=0))
    return Factory(app)


@pytest.fixture
def owner_database(database_url: str) -> Iterator[TenantDatabase]:
    """Open the suite's database as the owner of its schemas."""
    database = open_database(database_url, pool_size=1)
    yield database
    database.close()


@pytest.fixture
def revision_tree(tmp_path: Path) -> Iterator[RevisionTree]:
    """Return a folder to which a test adds revisions."""
    folder = tmp_path / "versions"
    folder.mkdir()
    with open_revision_tree(folder) as new_tree:
        yield new_tree


@pytest.fixture
def public_revision_tree(tmp_path: Path) -> Iterator[RevisionTree]:
    """Return a folder to which a test adds revisions of the public schema."""
    folder = tmp_path / "public_versions"
    folder.mkdir()
    with open_revision_tree(folder, registry_schema) as new_tree:
        yield new_tree


@pytest.fixture
def next_revision(revision_tree: RevisionTree) -> str:
    """Add one more tenant revision and return its number."""
    return revision_tree.add_sql("nicknames", NICKNAMES_SQL)


@pytest.fixture
def four_tenants(template_payload: list[Tenant]) -> list[Tenant]:
    """Return the four tenants of the template, which are at the revision before the next one."""
    return template_payload
