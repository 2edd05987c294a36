"""Fixtures of the generated tables: one populated database for each process."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.generated.hostile_client import HostileClient
from tests.generated.isolation_client import IsolationClient
from tests.generated.populated_database import PopulatedDatabase
from tests.support.database_templates import DatabaseTemplates
from tests.support.databases import DatabaseServer
from tests.support.factories import Platform
from tests.support.populated_tenant import PopulatedTenant, SignedCarrierClient


@pytest.fixture(scope="session")
def _populated_database(
    _app: Flask,
    database_server: DatabaseServer,
    database_url: str,
    leaked_log_lines: Callable[[], list[str]],
) -> Iterator[PopulatedDatabase]:
    """Return the database of the process; `populated_database` makes the process use it."""
    name = f"{make_url(database_url).database}_generated"
    templates = DatabaseTemplates(database_server, _app, name)
    with PopulatedDatabase.open(_app, templates, leaked_log_lines) as database:
        yield database


@pytest.fixture(scope="session")
def _hostile_client(_populated_database: PopulatedDatabase) -> HostileClient:
    return HostileClient(_populated_database)


@pytest.fixture(scope="session")
def _isolation_client(_populated_database: PopulatedDatabase) -> IsolationClient:
    return IsolationClient(_populated_database)


@pytest.fixture
def populated_database(_populated_database: PopulatedDatabase) -> Iterator[PopulatedDatabase]:
    """Return the populated database; restore everything that the test writes."""
    with _populated_database.use():
        yield _populated_database


@pytest.fixture
def hostile_client(
    populated_database: PopulatedDatabase, _hostile_client: HostileClient
) -> HostileClient:
    """Return the client that sends hostile requests as Acme."""
    return _hostile_client


@pytest.fixture
def isolation_client(
    populated_database: PopulatedDatabase, _isolation_client: IsolationClient
) -> IsolationClient:
    """Return the client that sends values of Globex as Acme."""
    return _isolation_client


@pytest.fixture
def populated_acme(populated_database: PopulatedDatabase) -> PopulatedTenant:
    """Return the populated tenant Acme."""
    populated_database.expect_writes()
    return populated_database.acme


@pytest.fixture
def populated_globex(populated_database: PopulatedDatabase) -> PopulatedTenant:
    """Return the populated tenant Globex."""
    populated_database.expect_writes()
    return populated_database.globex


@pytest.fixture
def platform(populated_database: PopulatedDatabase) -> Platform:
    """Return a platform key and its API client."""
    populated_database.expect_writes()
    return populated_database.platform


@pytest.fixture
def carrier_client(populated_database: PopulatedDatabase) -> SignedCarrierClient:
    """Return a client that sends signed requests of the fake carrier."""
    populated_database.expect_writes()
    return populated_database.carrier_client
