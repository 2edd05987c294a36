"""A real Postgres for every test: one database for each xdist worker, cloned from a template."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from flask import Flask

from tests.fakes.http_receiver import HttpReceiver, http_receiver
from tests.support import admin_db, databases, pii_sentinel, rate_limits, webhooks
from tests.support.api import Api, CookielessClient, validator_of
from tests.support.factories import Factory, Platform, Tenant
from tests.support.tenant_pool import TenantPool
from vca.app import create_app, recording_store
from vca.kit import db, http
from vca.observability import log
from vca.settings import Settings, read_settings
from vca.telephony import providers
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenant.calls.core import call_services as desks

# How long an example takes says more of the machine than of the product.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
# Tests that take seconds each come first, so that at the end no worker is left alone with one.
LONG_RUNNING = (
    "tests/chaos/",
    "tests/clients/",
    "tests/serve/",
    "tests/outage/",
    "tests/api/test_hostile_input.py",
    "tests/migrations/test_fleet_processes.py",
    "tests/tenancy/test_pool",
    "tests/registry/",
    "tests/kit/embedded/",
)


def pytest_configure(config: pytest.Config) -> None:
    """The controller starts the server and migrates the template; workers only clone it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background jobs ignore Ctrl-C, and so would the programs that tests interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        config.stash[databases.SERVER_KEY] = databases.DatabaseServer(
            config.workerinput["server_url"]
        )
    elif not config.option.collectonly:
        config.stash[databases.SERVER_KEY] = databases.start_server(databases.server_folder())
    if databases.SERVER_KEY in config.stash:
        admin_db.set_server_url(config.stash[databases.SERVER_KEY].url)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_RUNNING))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: whoever looks for garbage need not look through it each time."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a part of the suite waits for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["run"] = os.getpid()
    node.workerinput["server_url"] = node.config.stash[databases.SERVER_KEY].url


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(databases.SERVER_KEY, None)
    if server is not None and not hasattr(config, "workerinput"):
        server.stop(os.getpid())


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of this test process's own, as its owner."""
    worker_input = getattr(request.config, "workerinput", {})
    run_id, worker_id = worker_input.get("run", os.getpid()), worker_input.get("workerid", "main")
    return request.config.stash[databases.SERVER_KEY].clone_template(
        f"vca_test_{run_id}_{worker_id}"
    )


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
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
    """Hands over the lines that were logged and must not have been."""
    with pii_sentinel.watch_logs() as pop_lines:
        yield pop_lines


@pytest.fixture(scope="session")
def _app(settings: Settings, leaked_log_lines: Callable[[], list[str]]) -> Iterator[Flask]:
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
    previous_database, previous_carriers, previous_services = (
        db.current_database(),
        providers.current_carriers(),
        desks.current_services(),
    )
    previous_client, previous_limiter = http.current_client(), _app.extensions["limiter"]
    previous_config = dict(_app.config)
    log.configure(settings.log_level)  # a command before may have hushed it
    yield _app
    _app.extensions.update(settings=settings, limiter=previous_limiter)
    db.set_current_database(previous_database)
    providers.set_current_carriers(previous_carriers)
    desks.set_current_services(previous_services)
    http.set_current_client(previous_client)
    _app.config.clear()
    _app.config.update(previous_config)
    assert leaked_log_lines() == []


@pytest.fixture(scope="session")
def _tenant_pool(settings: Settings) -> TenantPool:
    return TenantPool(recording_store(settings))


@pytest.fixture
def world(app: Flask, _tenant_pool: TenantPool) -> Iterator[Factory]:
    """Makes tenants, keys and numbers; they stay behind until a tenant is used again."""
    factory = Factory(app, _tenant_pool)
    yield factory
    factory.release_tenants()


@pytest.fixture
def platform(world: Factory) -> Platform:
    """An operator."""
    return world.platform()


@pytest.fixture
def endpoint(app: Flask) -> Iterator[HttpReceiver]:
    """A system that webhooks are sent to."""
    webhooks.allow_loopback()
    with http_receiver() as server:
        yield server


@pytest.fixture
def other_endpoint(app: Flask) -> Iterator[HttpReceiver]:
    """Another one."""
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
    """Somebody without a key."""
    return Api(app, validator_of(app), key=None)


@pytest.fixture
def carrier(app: Flask, settings: Settings) -> FakeTelephonyAdapter:
    """The fake carrier, with nothing asked of it yet."""
    adapter = FakeTelephonyAdapter(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(adapter)
    return adapter
