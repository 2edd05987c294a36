"""An operator's terminal on a database of these tests' own."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from tests.support import databases, owner
from tests.support.evidence import Evidence
from tests.support.lifecycle import Terminal
from tests.support.premises import Line, Premises, furnish
from tests.support.world import World
from vca.kit import db
from vca.kit.config import Settings
from vca.kit.db import Database
from vca.telephony.mock import FakeTelephonyAdapter
from vca.tenancy import session

_EMPTY = r"""
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^(t|old)_[0-9a-f]{32}' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
END $$;
TRUNCATE public.tenants, public.dids, public.api_keys, public.webhooks CASCADE;
TRUNCATE jobs.procrastinate_jobs CASCADE;
"""


def empty(database: Database) -> None:
    """Drop every tenant, and what is on record of tenants."""
    with session.public(database=database) as opened:
        opened.execute(text(_EMPTY))


@pytest.fixture(scope="session")
def _apart_url(request: pytest.FixtureRequest, database_url: str) -> str:
    server: databases.Server = request.config.stash[databases.SERVER]
    return server.clone(f"{make_url(database_url).database}_lifecycle")


@pytest.fixture
def apart_settings(settings: Settings, _apart_url: str) -> Settings:
    """Those of the suite, for another database; roles as this process enters tenants."""
    return replace(
        settings,
        database_url=databases.as_login(_apart_url, databases.WEB),
        worker_database_url=databases.as_login(_apart_url, databases.WORKER),
        migration_database_url=_apart_url,
    )


@pytest.fixture
def elsewhere(app: Flask, settings: Settings, apart_settings: Settings) -> Iterator[Database]:
    """From here on the process uses another database, as it is; as its owner sees it."""
    app.extensions["settings"] = apart_settings
    web = db.use(Database(apart_settings.database_dsn))
    with owner.database() as database:
        yield database
    app.extensions["settings"] = settings
    web.close()


@pytest.fixture
def apart(elsewhere: Database) -> Database:
    """That database, without a tenant."""
    empty(elsewhere)
    return elsewhere


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
def furnished(operator: World, carrier: FakeTelephonyAdapter) -> Premises:
    """A tenant with rows in every table."""
    return furnish(operator, operator.platform(), Line(operator, carrier), "acme")
