"""Fixtures of the product on a real Postgres: a database for each process, cloned from a template.

The first test that needs them imports the product and starts the server: unit tests need neither.
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

# The time of an example depends on the machine more than on the product, so there is no deadline.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
# Tests that take seconds each run first. Otherwise one worker would run the last of them alone.
LONG_RUNNING = (
    "tests/chaos/",
    "tests/system/",
    "tests/generated/",
    "tests/integration/resilience/",
    "tests/integration/migrations/test_migrate_processes.py",
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
    """Return one more worker than cores, because some tests wait for other processes."""
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
    """Return the Postgres server of the run; the first test that requests it starts it."""
    from tests.support import admin_db, databases

    worker_input = getattr(request.config, "workerinput", {})
    run_id = worker_input.get("run", os.getpid())
    server = databases.start_server(databases.server_folder(), run_id=run_id)
    admin_db.set_server_url(server.url)
    return server


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest, database_server: DatabaseServer) -> str:
    """Return the owner's URL of a migrated database that only this test process uses."""
    worker_input = getattr(request.config, "workerinput", {})
    run_id, worker_id = worker_input.get("run", os.getpid()), worker_input.get("workerid", "main")
    return database_server.clone_template(f"vca_test_{run_id}_{worker_id}")


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return the settings of the product under test."""
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
            "CALLING_OUT_THREADS": "64",
            "CALLING_OUT_PER_TENANT": "64",
            **rate_limits.HIGH_RATE_LIMITS,
        }
    )


@pytest.fixture(scope="session")
def leaked_log_lines() -> Iterator[Callable[[], list[str]]]:
    """Return a function that returns and clears the log lines with sensitive data."""
    from tests.support import pii_sentinel

    with pii_sentinel.watch_logs() as pop_lines:
        yield pop_lines


@pytest.fixture(scope="session")
def _app(settings: Settings, leaked_log_lines: Callable[[], list[str]]) -> Iterator[Flask]:
    from tests.support import admin_db, pii_sentinel, services
    from tests.support.api import CookielessClient
    from vca.app import create_app

    app = create_app(settings)
    app.test_client_class = CookielessClient
    services.set_app(app)
    gc.freeze()
    yield app
    pii_sentinel.check_metrics()
    admin_db.close_pools()
    services.app_services().database.close()


@pytest.fixture
def app(
    _app: Flask, settings: Settings, leaked_log_lines: Callable[[], list[str]]
) -> Iterator[Flask]:
    """Return the app; restore its services and its configuration at the end."""
    from vca.observability import log

    extensions, config = dict(_app.extensions), dict(_app.config)
    services = extensions["vca"]
    carrier_fields = {**vars(services.carriers), "_adapters": dict(services.carriers._adapters)}
    log.configure(settings.log_level)  # a command may have raised the level
    yield _app
    _app.extensions.update(extensions)
    services.database.breaker.succeeded()  # all databases of the server share it
    vars(services.carriers).update(carrier_fields)  # a test may have registered an adapter
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
    """Return a factory of tenants, keys and numbers; release its tenants to the pool at the end."""
    from tests.support.factories import Factory

    factory = Factory(app, _tenant_pool)
    yield factory
    factory.release_tenants()


@pytest.fixture
def platform(world: Factory) -> Platform:
    """Return a platform key and its API client."""
    return world.platform()


@pytest.fixture
def endpoint(app: Flask) -> Iterator[HttpReceiver]:
    """Return a running receiver for webhooks on loopback."""
    from tests.fakes.http_receiver import http_receiver
    from tests.support import webhooks

    webhooks.allow_loopback()
    with http_receiver() as server:
        yield server


@pytest.fixture
def other_endpoint(app: Flask) -> Iterator[HttpReceiver]:
    """Return a second running receiver."""
    from tests.fakes.http_receiver import http_receiver
    from tests.support import webhooks

    webhooks.allow_loopback()
    with http_receiver() as server:
        yield server


@pytest.fixture
def acme(world: Factory) -> Tenant:
    """Return a tenant."""
    return world.tenant("Acme")


@pytest.fixture
def globex(world: Factory) -> Tenant:
    """Return a second tenant."""
    return world.tenant("Globex")


@pytest.fixture
def anonymous(app: Flask) -> Api:
    """Return an API client without a key."""
    from tests.support.api import Api, validator_of

    return Api(app, validator_of(app), key=None)


@pytest.fixture
def carrier(app: Flask, settings: Settings) -> FakeTelephonyAdapter:
    """Install and return a fake carrier that has received no request."""
    from tests.support.services import use_carriers
    from vca.telephony.providers import Carriers
    from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

    adapter = FakeTelephonyAdapter(f"fake-carrier|{settings.secret_key}")
    use_carriers(Carriers(settings)).register(adapter)
    return adapter
