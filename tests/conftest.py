"""Fixtures of the product on a real Postgres: a database for each process, cloned from a template.

The product is imported, and the server started, when the first test asks for them: a file of unit
tests needs neither.
"""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.support import run_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from tests.fakes.http_receiver import HttpReceiver
    from tests.support.api import Api
    from tests.support.databases import DatabaseServer
    from tests.support.factories import Factory, Platform, Tenant
    from tests.support.tenant_pool import TenantPool
    from vca.settings import Settings
    from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

# How long an example takes says more of the machine than of the product.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
# Tests that take seconds each come first, so that at the end no worker is left alone with one.
LONG_RUNNING = (
    "tests/chaos/",
    "tests/system/",
    "tests/generated/",
    "tests/integration/resilience/",
    "tests/integration/migrations/test_fleet_processes.py",
    "tests/integration/tenancy/test_pool",
    "tests/integration/registry/",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the programs that tests interrupt, also in a shell's background job."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        run_record.path_of(os.getpid()).unlink(missing_ok=True)  # of a dead process with this id


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_RUNNING))


def pytest_collection_finish() -> None:
    """Exempt what is loaded now from garbage collection, which would look through it each time."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a part of the suite waits for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["run"] = os.getpid()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Drop the run's databases, and stop the server if a process of this run started it."""
    if not hasattr(config, "workerinput") and run_record.path_of(os.getpid()).exists():
        from tests.support import databases

        databases.stop_server(os.getpid())


@pytest.fixture(scope="session")
def database_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """The Postgres server of the run, started by the first test that asks for it."""
    from tests.support import admin_db, databases

    worker_input = getattr(request.config, "workerinput", {})
    run_id = worker_input.get("run", os.getpid())
    server = databases.start_server(databases.server_folder(), run_id=run_id)
    admin_db.set_server_url(server.url)
    return server


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest, database_server: DatabaseServer) -> str:
    """A migrated database of this test process's own, as its owner."""
    worker_input = getattr(request.config, "workerinput", {})
    run_id, worker_id = worker_input.get("run", os.getpid()), worker_input.get("workerid", "main")
    return database_server.clone_template(f"vca_test_{run_id}_{worker_id}")


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of the product under test."""
    from tests.support import databases, rate_limits
    from vca.settings import read_settings

    return read_settings(
        {
            "DATABASE_URL": databases.as_login(database_url, databases.WEB),
            "WORKER_DATABASE_URL": databases.as_login(database_url, databases.WORKER),
            "MIGRATION_DATABASE_URL": database_url,
            "APP_ENV": "development",
            "APP_NAME": "VCA under test",
            "DEBUG": "false",
            "SECRET_KEY": "a-secret-of-the-test-suite-and-no-other",
            "API_KEY_PEPPERS": "a-pepper-of-the-test-suite-and-no-other",
            "TELEPHONY_PROVIDER": "fake",
            "LLM_MODELS": "house-model,other-model",
            "DATABASE_POOL_SIZE": "25",
            "RECORDING_STORE": f"folder:{tmp_path_factory.mktemp('recordings')}",
            "LOG_LEVEL": "info",
            **rate_limits.HIGH_RATE_LIMITS,
        }
    )


@pytest.fixture(scope="session")
def leaked_log_lines() -> Iterator[Callable[[], list[str]]]:
    """Return a function that takes the lines which were logged and must not have been."""
    from tests.support import pii_sentinel

    with pii_sentinel.watch_logs() as pop_lines:
        yield pop_lines


@pytest.fixture(scope="session")
def _app(settings: Settings, leaked_log_lines: Callable[[], list[str]]) -> Iterator[Flask]:
    from tests.support import admin_db, pii_sentinel
    from tests.support.api import CookielessClient
    from vca.app import create_app
    from vca.kit import db

    app = create_app(settings)
    app.test_client_class = CookielessClient
    gc.freeze()
    yield app
    pii_sentinel.check_metrics()
    admin_db.close_pools()
    db.current_database().close()


@pytest.fixture
def app(
    _app: Flask, settings: Settings, leaked_log_lines: Callable[[], list[str]]
) -> Iterator[Flask]:
    """The whole product; a test may swap the process's database, carriers or model."""
    from vca.kit import db, http
    from vca.observability import log
    from vca.telephony import providers
    from vca.tenant.calls.core import call_services

    database, carriers = db.current_database(), providers.current_carriers()
    services, client = call_services.current_services(), http.current_client()
    limiter, config = _app.extensions["limiter"], dict(_app.config)
    log.configure(settings.log_level)  # a command may have raised the level
    yield _app
    _app.extensions.update(settings=settings, limiter=limiter)
    db.set_current_database(database)
    providers.set_current_carriers(carriers)
    call_services.set_current_services(services)
    http.set_current_client(client)
    _app.config.clear()
    _app.config.update(config)
    assert leaked_log_lines() == []


@pytest.fixture(scope="session")
def _tenant_pool(settings: Settings) -> TenantPool:
    from tests.support.tenant_pool import TenantPool
    from vca.app import recording_store

    return TenantPool(recording_store(settings))


@pytest.fixture
def world(app: Flask, _tenant_pool: TenantPool) -> Iterator[Factory]:
    """Creates tenants, keys and numbers; they stay until a tenant is used again."""
    from tests.support.factories import Factory

    factory = Factory(app, _tenant_pool)
    yield factory
    factory.release_tenants()


@pytest.fixture
def platform(world: Factory) -> Platform:
    """A platform key and its client."""
    return world.platform()


@pytest.fixture
def endpoint(app: Flask) -> Iterator[HttpReceiver]:
    """An HTTP receiver of webhooks."""
    from tests.fakes.http_receiver import http_receiver
    from tests.support import webhooks

    webhooks.allow_loopback()
    with http_receiver() as server:
        yield server


@pytest.fixture
def other_endpoint(app: Flask) -> Iterator[HttpReceiver]:
    """A second HTTP receiver of webhooks."""
    from tests.fakes.http_receiver import http_receiver
    from tests.support import webhooks

    webhooks.allow_loopback()
    with http_receiver() as server:
        yield server


@pytest.fixture
def acme(world: Factory) -> Tenant:
    """A tenant."""
    return world.tenant("Acme")


@pytest.fixture
def globex(world: Factory) -> Tenant:
    """Another tenant."""
    return world.tenant("Globex")


@pytest.fixture
def anonymous(app: Flask) -> Api:
    """A client without a key."""
    from tests.support.api import Api, validator_of

    return Api(app, validator_of(app), key=None)


@pytest.fixture
def carrier(app: Flask, settings: Settings) -> FakeTelephonyAdapter:
    """The fake carrier, with no operation recorded."""
    from vca.telephony import providers
    from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

    adapter = FakeTelephonyAdapter(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(adapter)
    return adapter
