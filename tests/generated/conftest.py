"""Fixtures of the generated tables: one populated database for each process."""

from collections.abc import Callable, Generator, Iterator

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

_DATABASE = pytest.StashKey[PopulatedDatabase]()
_HOSTILE_CLIENT = pytest.StashKey[HostileClient]()
_ISOLATION_CLIENT = pytest.StashKey[IsolationClient]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Drop the captured log of passed tests, which xdist would send to its controller."""
    report = yield
    if report.passed:
        report.sections = []
    return report


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


def _get_database(request: pytest.FixtureRequest) -> PopulatedDatabase:
    """Return the database of the process.

    The stash keeps it, because pytest would otherwise look up nine fixtures of the session for each
    of thirty thousand cells.
    """
    stash = request.config.stash
    if _DATABASE not in stash:
        stash[_DATABASE] = request.getfixturevalue("_populated_database")
    return stash[_DATABASE]


@pytest.fixture
def populated_database(request: pytest.FixtureRequest) -> Iterator[PopulatedDatabase]:
    """Return the populated database; restore everything that the test writes."""
    database = _get_database(request)
    with database.use():
        yield database


@pytest.fixture
def hostile_client(request: pytest.FixtureRequest) -> Iterator[HostileClient]:
    """Return the client that sends hostile requests as Acme; restore what they write."""
    database, stash = _get_database(request), request.config.stash
    with database.use():
        if _HOSTILE_CLIENT not in stash:
            stash[_HOSTILE_CLIENT] = HostileClient(database)
        yield stash[_HOSTILE_CLIENT]


@pytest.fixture
def isolation_client(request: pytest.FixtureRequest) -> Iterator[IsolationClient]:
    """Return the client that sends values of Globex as Acme; restore what they write."""
    database, stash = _get_database(request), request.config.stash
    with database.use():
        if _ISOLATION_CLIENT not in stash:
            stash[_ISOLATION_CLIENT] = IsolationClient(database)
        yield stash[_ISOLATION_CLIENT]


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
