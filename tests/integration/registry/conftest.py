"""Fixtures for platform commands, which run on a database of their own."""

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
from tests.support.services import app_services
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
    """Return the builder of the database template: no tenant. Test modules override it."""
    return database_templates.empty


@pytest.fixture
def leaves_database_dirty() -> bool:
    """Return whether the test changes the database, so that the next test needs a fresh copy."""
    return True


@pytest.fixture
def template_payload(
    app: Flask,
    _database_templates: DatabaseTemplates,
    template_builder: Builder,
    leaves_database_dirty: bool,
) -> Iterator[Any]:
    """Switch the process to a copy of the template and return the builder's result."""
    with _database_templates.use_copy(template_builder, dirty=leaves_database_dirty) as payload:
        yield payload


@pytest.fixture
def template_settings(app: Flask, template_payload: Any) -> Settings:
    """Return the settings with the URLs of the template's copy."""
    settings: Settings = app_services().settings
    return settings


@pytest.fixture
def owner_database(template_payload: Any) -> Iterator[Database]:
    """Open the template's copy as its owner."""
    with admin_db.open_database() as database:
        yield database


@pytest.fixture
def db_snapshot(owner_database: Database) -> Iterator[SnapshotChecker]:
    """Return a checker that reads the copy outside the sessions of the application."""
    checker = SnapshotChecker(owner_database.dsn)
    yield checker
    checker.close()


@pytest.fixture
def tenants_cli(app: Flask, owner_database: Database) -> TenantsCli:
    """Return a runner of `flask tenants …` commands."""
    return TenantsCli(app)


@pytest.fixture
def template_world(tenants_cli: TenantsCli) -> Factory:
    """Return a factory of tenants in the template's copy."""
    return Factory(tenants_cli.app)


@pytest.fixture
def populated_tenant(
    template_payload: PopulatedTenant, carrier: FakeTelephonyAdapter
) -> PopulatedTenant:
    """Return the tenant of the template, with rows in every table."""
    return template_payload
