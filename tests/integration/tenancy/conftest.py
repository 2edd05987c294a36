"""Fixtures for tenancy tests: a snapshot checker and connection pools."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.services import open_database
from vca.settings import Settings
from vca.tenancy.database import TenantDatabase


@pytest.fixture(scope="session")
def db_snapshot(database_url: str) -> Iterator[SnapshotChecker]:
    """Return a checker that reads the database outside the sessions of the application."""
    checker = SnapshotChecker(database_url)
    yield checker
    checker.close()


@pytest.fixture
def make_pool(app: Flask, settings: Settings) -> Iterator[Callable[..., TenantDatabase]]:
    """Return a function that creates pools of a given size; close them at the end."""
    pools: list[TenantDatabase] = []

    def make(size: int, **options: Any) -> TenantDatabase:
        pools.append(open_database(settings.database_dsn, pool_size=size, **options))
        return pools[-1]

    yield make
    for database in pools:
        database.close()


@pytest.fixture
def swapped_schemas(acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker) -> Iterator[None]:
    """Swap the names of the schemas of Acme and Globex."""

    def swap() -> None:
        acme_schema, globex_schema = acme.ref.schema, globex.ref.schema
        for old, new in (
            (acme_schema, "aside"),
            (globex_schema, acme_schema),
            ("aside", globex_schema),
        ):
            db_snapshot.rows(f'ALTER SCHEMA "{old}" RENAME TO "{new}"')

    swap()
    yield
    swap()


@pytest.fixture
def owner_database(database_url: str) -> Iterator[TenantDatabase]:
    """Open the database as the owner of its schemas."""
    database = open_database(database_url, pool_size=1)
    yield database
    database.close()
