"""An operator's terminal on a database of these tests' own."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.support import houses, owner
from tests.support.databases import SERVER
from tests.support.evidence import Evidence
from tests.support.houses import Builder, Houses
from tests.support.lifecycle import Terminal
from tests.support.premises import Premises
from tests.support.world import World
from vca.kit.db import Database
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


@pytest.fixture(scope="session")
def _houses(request: pytest.FixtureRequest, _app: Flask, database_url: str) -> Houses:
    name = f"{make_url(database_url).database}_lifecycle"
    return Houses(request.config.stash[SERVER], _app, name)


@pytest.fixture
def built() -> Builder:
    """Who is in the database when a test begins: nobody."""
    return houses.nobody


@pytest.fixture
def spoilt() -> bool:
    """Whether the next test must have a database of its own."""
    return True


@pytest.fixture
def dwellers(app: Flask, _houses: Houses, built: Builder, spoilt: bool) -> Iterator[Any]:
    """From here on the process uses another database; what was made in it."""
    with _houses.entered(built, spoilt=spoilt) as found:
        yield found


@pytest.fixture
def apart_settings(app: Flask, dwellers: Any) -> Settings:
    """Those of the suite, for that database."""
    settings: Settings = app.extensions["settings"]
    return settings


@pytest.fixture
def apart(dwellers: Any) -> Iterator[Database]:
    """That database, as its owner sees it."""
    with owner.database() as database:
        yield database


@pytest.fixture
def witness(apart: Database) -> Iterator[Evidence]:
    """That database as nobody's session sees it."""
    found = Evidence(apart.dsn)
    yield found
    found.close()


@pytest.fixture
def terminal(app: Flask, apart: Database) -> Terminal:
    """Runs `flask tenants …`."""
    return Terminal(app)


@pytest.fixture
def operator(terminal: Terminal) -> World:
    """Makes tenants where the terminal is."""
    return World(terminal.app)


@pytest.fixture
def furnished(dwellers: Premises, carrier: FakeTelephonyAdapter) -> Premises:
    """A tenant with rows in every table, in a database that is built with it."""
    return dwellers
