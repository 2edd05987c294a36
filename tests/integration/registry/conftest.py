"""An operator's terminal on a database of these tests' own."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.support import admin_db, database_templates
from tests.support.database_templates import Builder, DatabaseTemplates
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory
from tests.support.populated_tenant import PopulatedTenant
from tests.support.tenants_cli import TenantsCli
from vca.kit.db import Database
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


@pytest.fixture(scope="session")
def _database_templates(
    request: pytest.FixtureRequest, _app: Flask, database_url: str
) -> DatabaseTemplates:
    name = f"{make_url(database_url).database}_lifecycle"
    return DatabaseTemplates(request.getfixturevalue("database_server"), _app, name)


@pytest.fixture
def template_builder() -> Builder:
    """Who is in the database when a test begins: nobody."""
    return database_templates.empty


@pytest.fixture
def leaves_database_dirty() -> bool:
    """Whether the next test must have a database of its own."""
    return True


@pytest.fixture
def template_payload(
    app: Flask,
    _database_templates: DatabaseTemplates,
    template_builder: Builder,
    leaves_database_dirty: bool,
) -> Iterator[Any]:
    """From here on the process uses another database; what was made in it."""
    with _database_templates.use_copy(template_builder, dirty=leaves_database_dirty) as payload:
        yield payload


@pytest.fixture
def template_settings(app: Flask, template_payload: Any) -> Settings:
    """Those of the suite, for that database."""
    settings: Settings = app.extensions["settings"]
    return settings


@pytest.fixture
def owner_database(template_payload: Any) -> Iterator[Database]:
    """That database, as its owner sees it."""
    with admin_db.open_database() as database:
        yield database


@pytest.fixture
def db_snapshot(owner_database: Database) -> Iterator[SnapshotChecker]:
    """That database as nobody's session sees it."""
    checker = SnapshotChecker(owner_database.dsn)
    yield checker
    checker.close()


@pytest.fixture
def tenants_cli(app: Flask, owner_database: Database) -> TenantsCli:
    """Runs `flask tenants …`."""
    return TenantsCli(app)


@pytest.fixture
def template_world(tenants_cli: TenantsCli) -> Factory:
    """Makes tenants where the terminal is."""
    return Factory(tenants_cli.app)


@pytest.fixture
def populated_tenant(
    template_payload: PopulatedTenant, carrier: FakeTelephonyAdapter
) -> PopulatedTenant:
    """A tenant with rows in every table, in a database that is built with it."""
    return template_payload
