"""The circuit breaker: one per server, and only a server that is down opens it."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from tests.integration.tenancy.session_state import MakePool, wait_for
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.services import app_services, open_database, use_database
from tests.support.tcp_proxy import TcpProxy
from vca.kit import deadline
from vca.kit.circuit_breaker import CircuitOpen
from vca.kit.db import DatabaseBusy, DatabaseUnavailable
from vca.kit.db.breaker import create_breaker
from vca.kit.db.copy_driver import BulkDatabase
from vca.settings import Settings
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import public_session, tenant_session

OpenServer = Callable[[], TcpProxy]
TIMEOUTS: dict[str, list[str | Callable[[], object]]] = {
    "57014": ["SET LOCAL statement_timeout = '1ms'", "SELECT pg_sleep(5)"],
    "55P03": ["SET LOCAL lock_timeout = '1ms'", "SELECT id FROM settings FOR UPDATE"],
    "25P03": [
        "SET LOCAL idle_in_transaction_session_timeout = '15ms'",
        lambda: time.sleep(0.05),
        "SELECT 1",
    ],
}


@pytest.fixture
def open_server(settings: Settings) -> Iterator[OpenServer]:
    """Return a function that opens a server with an address of its own."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(TcpProxy(settings.database_dsn))


@pytest.fixture
def connect(app: object) -> Iterator[Callable[..., TenantDatabase]]:
    """Return a function that creates a pool for a server; close the pools at the end."""
    pools: list[TenantDatabase] = []

    def create(server: TcpProxy, size: int = 2) -> TenantDatabase:
        pools.append(open_database(server.url, pool_size=size))
        return pools[-1]

    yield create
    for pool in pools:
        pool.close()


def execute(database: TenantDatabase, *statements: str) -> None:
    """Execute statements in one transaction outside of all tenants."""
    with public_session(database=database) as session:
        for statement in statements:
            session.execute(text(statement))


def execute_in_tenant(tenant: Tenant, *steps: str | Callable[[], object]) -> None:
    """Execute statements and call functions in one transaction of the tenant."""
    with tenant_session(tenant.ref, database=app_services().database) as session:
        for step in steps:
            if isinstance(step, str):
                session.execute(text(step))
            else:
                step()


def responds(database: TenantDatabase) -> bool:
    """Return whether a request succeeds."""
    try:
        execute(database, "SELECT 1")
    except DatabaseUnavailable:
        return False
    return True


def is_rejected_by_breaker(database: TenantDatabase) -> bool:
    """Return whether the breaker is open; a test with a request would close it."""
    try:
        database.breaker.enter(lambda: True)
    except CircuitOpen:
        return True
    return False


def test_databases_of_one_server_share_a_breaker(settings: Settings, database_url: str) -> None:
    web, owner = open_database(settings.database_dsn), open_database(database_url)
    bulk, other_database = (
        BulkDatabase(database_url),
        open_database(
            make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
        ),
    )

    assert web.breaker is owner.breaker is bulk.breaker is other_database.breaker


@pytest.mark.parametrize(
    ("url", "other_url", "is_same_server"),
    [
        ("postgresql://a@db.example/x", "postgresql://b@DB.example.:5432/y", True),
        ("postgresql://a@db.example/x", "postgresql+psycopg://a@db.example/x", True),
        ("postgresql:///x?host=/run/pg", "postgresql:///y?host=/run/pg/&port=5432", True),
        ("postgresql://a@db.example/x", "postgresql://a@db.example:6432/x", False),
        ("postgresql://a@db.example/x", "postgresql://a@db2.example/x", False),
        ("postgresql:///x?host=/run/pg", "postgresql:///x?host=/run/pg2", False),
        ("postgresql:///x?host=a:1&host=b:2", "postgresql:///x?host=a:1&host=b:3", False),
    ],
)
def test_a_server_is_identified_by_its_address(
    url: str, other_url: str, is_same_server: bool
) -> None:
    assert (open_database(url).breaker is open_database(other_url).breaker) is is_same_server


def test_a_server_that_is_down_does_not_affect_another_server(
    open_server: OpenServer, connect: Callable[..., TenantDatabase]
) -> None:
    first_server, second_server = open_server(), open_server()
    first, second = connect(first_server), connect(second_server)
    for database in (first, second):
        execute(database, "SELECT 1")

    first_server.cut()
    for _ in range(20):
        with pytest.raises(DatabaseUnavailable):
            execute(first, "SELECT 1")
        execute(second, "SELECT 1")

    assert is_rejected_by_breaker(first)
    first_server.restore()
    wait_for(lambda: responds(first))


def test_a_failed_connect_of_a_bulk_command_opens_the_breaker_of_the_server(
    open_server: OpenServer, connect: Callable[..., TenantDatabase]
) -> None:
    server = open_server()
    server.cut()

    with pytest.raises(DatabaseUnavailable), BulkDatabase(server.url).connection():
        pytest.fail("connected")

    assert is_rejected_by_breaker(connect(server))


def test_the_open_breaker_of_a_server_rejects_bulk_commands(open_server: OpenServer) -> None:
    database = BulkDatabase(open_server().url)
    database.breaker.failed("connection_failed")

    with pytest.raises(DatabaseUnavailable), database.connection():
        pytest.fail("connected")


@pytest.mark.parametrize("sqlstate", TIMEOUTS)
def test_a_hundred_timeouts_of_one_tenant_do_not_affect_another_one(
    sqlstate: str, acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    database = use_database(make_pool(3))
    with tenant_session(acme.ref, database=app_services().database) as holder:
        holder.execute(text("SELECT id FROM settings FOR UPDATE"))
        for number in range(100):
            with pytest.raises(DatabaseBusy):
                execute_in_tenant(acme, *TIMEOUTS[sqlstate])
            if number % 10 == 0:
                assert globex.get("/settings").status_code == 200

    assert not is_rejected_by_breaker(database)


def test_slow_tenants_that_use_every_connection_do_not_open_the_breaker(
    acme: Tenant, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make_pool(1)
    monkeypatch.setattr(database.engine.pool, "_timeout", 0.05)

    with tenant_session(acme.ref, database=database), pytest.raises(DatabaseUnavailable):
        execute(database, "SELECT 1")

    assert not is_rejected_by_breaker(database)


def test_a_slow_statement_on_a_server_that_responds_does_not_open_the_breaker(
    acme: Tenant, make_pool: MakePool
) -> None:
    """The statements of one string can together take longer than VCA waits."""
    database = make_pool(1)

    for _ in range(2):
        with deadline.within(0), pytest.raises(DatabaseUnavailable) as error:
            execute(database, "SELECT pg_sleep(5)")
        assert error.value.__cause__ is not None  # the breaker did not reject it

    execute(database, "SELECT 1")
    assert not is_rejected_by_breaker(database)


def test_a_frozen_server_opens_the_breaker_and_closes_it_when_it_responds_again(
    open_server: OpenServer, connect: Callable[..., TenantDatabase]
) -> None:
    server = open_server()
    database = connect(server)
    execute(database, "SELECT 1")
    server.freeze()

    with deadline.within(0), pytest.raises(DatabaseUnavailable):
        execute(database, "SELECT 1")
    with pytest.raises(DatabaseUnavailable) as error:  # it examines the server
        execute(database, "SELECT 1")

    assert error.value.__cause__ is None
    assert is_rejected_by_breaker(database)
    server.restore()
    wait_for(lambda: responds(database))


def test_only_one_request_at_a_time_examines_a_frozen_server(
    open_server: OpenServer, connect: Callable[..., TenantDatabase]
) -> None:
    server = open_server()
    database = connect(server)
    database.breaker.suspect()
    callers: list[int] = []
    examinations = []

    def examine() -> bool:
        wait_for(lambda: len(callers) == 4)
        time.sleep(0.05)  # the other callers wait for the result
        examinations.append(1)
        return True

    def enter(caller: int) -> None:
        callers.append(caller)
        database.breaker.enter(examine)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(enter, range(4)))

    assert len(examinations) == 1


def test_a_response_to_another_request_disproves_an_outage(
    open_server: OpenServer, connect: Callable[..., TenantDatabase]
) -> None:
    """All connections of a pooler can be in use, so that a new one waits."""
    database = connect(open_server())
    database.breaker.suspect()

    def fail_while_another_request_succeeds() -> bool:
        database.breaker.succeeded()
        return False

    database.breaker.enter(fail_while_another_request_succeeds)

    assert not is_rejected_by_breaker(database)


def test_a_connection_lost_between_two_statements_does_not_open_the_breaker(
    acme: Tenant, open_server: OpenServer, connect: Callable[..., TenantDatabase]
) -> None:
    server = open_server()
    database = connect(server)

    use_database(database)

    with pytest.raises(DatabaseBusy):
        execute_in_tenant(acme, "SELECT 1", server.cut, server.restore, "SELECT 1")

    assert not is_rejected_by_breaker(database)
    execute(database, "SELECT 1")


def test_a_connection_lost_while_a_statement_runs_opens_the_breaker(
    acme: Tenant,
    open_server: OpenServer,
    connect: Callable[..., TenantDatabase],
    db_snapshot: SnapshotChecker,
) -> None:
    server = open_server()
    database = connect(server)
    statement = "SELECT pg_sleep(20)"
    is_running = (  # the statement comes after BEGIN
        f"SELECT 1 FROM pg_stat_activity WHERE right(query, {len(statement)}) = '{statement}'"
        " AND state = 'active'"
    )

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(execute, database, statement)
        wait_for(lambda: db_snapshot.rows(is_running))
        server.cut()
        with pytest.raises(DatabaseUnavailable):
            running.result()

    assert is_rejected_by_breaker(database)


def test_an_error_of_a_statement_shows_that_the_server_is_back(make_pool: MakePool) -> None:
    database = make_pool(1)
    database.breaker = create_breaker(pause_s=0)
    database.breaker.failed("connection_failed")

    with pytest.raises(DBAPIError):
        execute(database, "SELECT 1 / 0")

    database.breaker.enter(lambda: True)
    database.breaker.enter(lambda: True)  # one trial at a time would be allowed
