"""Fixtures for outage tests: gunicorn and worker behind a proxy that can cut off the database."""

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import make_url, text

from tests.support import admin_db, databases, rate_limits
from tests.support.factories import Factory, Tenant
from tests.support.processes import WebServer, process_environment, run_gunicorn, wait_until
from tests.support.services import open_database, use_database
from tests.support.tcp_proxy import TcpProxy
from vca.kit.db import Database
from vca.settings import Settings


@pytest.fixture(scope="session")
def outage_url(request: pytest.FixtureRequest, database_url: str) -> str:
    """Return the URL of a migrated database with a job queue that no other test uses."""
    server: databases.DatabaseServer = request.getfixturevalue("database_server")
    return server.clone_template(f"{make_url(database_url).database}_outage")


@pytest.fixture(scope="session")
def _db_proxy(outage_url: str) -> Iterator[TcpProxy]:
    with TcpProxy(outage_url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def environment(_db_proxy: TcpProxy, settings: Settings) -> dict[str, str]:
    """Return the settings of the processes. Keys that tests create are valid for them."""
    return process_environment(
        settings,
        DATABASE_URL=databases.as_login(_db_proxy.url, databases.WEB).replace("sql:", "s:", 1),
        WORKER_DATABASE_URL=databases.as_login(_db_proxy.url, databases.WORKER),
        APP_NAME="VCA behind a relay",
        **rate_limits.HIGH_RATE_LIMITS,
    )


@pytest.fixture(scope="session")
def _web(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    with run_gunicorn(environment, tmp_path_factory.mktemp("web") / "log") as web:
        yield web


@pytest.fixture
def db_proxy(_db_proxy: TcpProxy) -> Iterator[TcpProxy]:
    """Return the proxy before the database. It forwards before and after each test."""
    yield _db_proxy
    _db_proxy.restore()


@pytest.fixture
def web(_web: WebServer, db_proxy: TcpProxy) -> Iterator[WebServer]:
    """Return a healthy gunicorn; fail if a worker process was replaced during the test."""
    wait_until(_web.is_healthy)
    worker_pids = _web.worker_pids()
    yield _web
    db_proxy.restore()
    wait_until(_web.is_healthy)
    assert _web.worker_pids() == worker_pids, "a worker process was replaced"


@pytest.fixture
def direct_database(app: Flask, outage_url: str) -> Iterator[Database]:
    """Switch the test process to the same database without the proxy, and empty the job queue."""
    database = use_database(open_database(databases.as_login(outage_url, databases.WEB)))
    with admin_db.public_session() as session:  # jobs of earlier tests
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))
    yield database
    database.close()


@pytest.fixture
def world(app: Flask, direct_database: Database) -> Factory:
    """Return a factory that creates tenants without the proxy."""
    return Factory(app)


@pytest.fixture
def acme(world: Factory) -> Tenant:
    """Return a tenant."""
    return world.tenant("Acme")


@pytest.fixture
def globex(world: Factory) -> Tenant:
    """Return a second tenant."""
    return world.tenant("Globex")
