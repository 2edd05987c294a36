"""A real gunicorn and a real worker, their database behind a relay that can take it away."""

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from tests.support import databases, limits, owner
from tests.support.processes import Web, serving, until
from tests.support.relay import Relay
from tests.support.world import Tenant, World
from vca.kit import db
from vca.kit.db import Database
from vca.settings import Settings


@pytest.fixture(scope="session")
def outage_url(request: pytest.FixtureRequest, database_url: str) -> str:
    """A migrated database whose queue is nobody else's."""
    server: databases.Server = request.config.stash[databases.SERVER]
    return server.clone(f"{make_url(database_url).database}_outage")


@pytest.fixture(scope="session")
def _relay(outage_url: str) -> Iterator[Relay]:
    with Relay(outage_url) as relay:
        yield relay


@pytest.fixture(scope="session")
def environment(_relay: Relay, settings: Settings) -> dict[str, str]:
    """The settings of the processes; keys that the tests make are good for them."""
    return {
        "DATABASE_URL": databases.as_login(_relay.url, databases.WEB).replace("sql:", "s:", 1),
        "WORKER_DATABASE_URL": databases.as_login(_relay.url, databases.WORKER),
        "APP_ENV": "development",
        "APP_NAME": "VCA behind a relay",
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
        "API_KEY_PEPPERS": ",".join(settings.api_key_peppers),
        "TELEPHONY_PROVIDER": "fake",
        "LOG_LEVEL": "info",
        **limits.PLENTY,
    }


@pytest.fixture(scope="session")
def _web(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serving(environment, tmp_path_factory.mktemp("web") / "log") as web:
        yield web


@pytest.fixture
def relay(_relay: Relay) -> Iterator[Relay]:
    """The way to the database, open before and after."""
    yield _relay
    _relay.restore()


@pytest.fixture
def web(_web: Web, relay: Relay) -> Iterator[Web]:
    """A server that is well before, and has the same processes afterwards."""
    until(_web.is_well)
    before = _web.workers()
    yield _web
    relay.restore()
    until(_web.is_well)
    assert _web.workers() == before, "a worker process was replaced"


@pytest.fixture
def direct(app: Flask, outage_url: str) -> Iterator[Database]:
    """The same database without the relay, as the test itself sees it."""
    database = db.set_current_database(Database(databases.as_login(outage_url, databases.WEB)))
    with owner.public() as session:  # what earlier tests left to do is not this one's
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))
    yield database
    database.close()


@pytest.fixture
def world(app: Flask, direct: Database) -> World:
    """Makes tenants directly."""
    return World(app)


@pytest.fixture
def acme(world: World) -> Tenant:
    return world.tenant("Acme")


@pytest.fixture
def globex(world: World) -> Tenant:
    return world.tenant("Globex")
