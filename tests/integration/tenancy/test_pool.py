"""Tests of the connection pool: isolation and number of a connection's tenants, and outages."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import QueuePool, event, select, text
from sqlalchemy.exc import DBAPIError

from tests.integration.tenancy.session_state import execute_unreachable
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services, use_database
from vca.kit import deadline
from vca.kit.db import DatabaseBusy, DatabaseUnavailable
from vca.kit.db.breaker import create_breaker
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, open_tenant, public_session, tenant_session
from vca.tenant.settings.models import Settings

MakePool = Callable[..., TenantDatabase]
# `make bench` sends 10,000 requests.
REQUEST_COUNT = int(os.environ.get("POOL_REQUESTS", "2000"))
HTTP_REQUEST_COUNT = REQUEST_COUNT // 5
KILL_COUNT = 3
THREAD_COUNT = 6
POOL_SIZE = 5
SENTENCE_QUERY = select(Settings.sentences["closed"].astext)
FAILURE_KINDS = ("exception", "statement", "timeout", "missing table", "no tenant")


class Traffic:
    """Mixed requests of two tenants; every twelfth request fails on purpose."""

    def __init__(self, tenants: list[Tenant], db_snapshot: SnapshotChecker) -> None:
        self.tenants = tenants
        self.db_snapshot = db_snapshot
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def count(self, kind: str) -> None:
        with self._lock:
            self.counts[kind] += 1

    def send_request(self, number: int) -> None:
        """Send the request with this number, and repeat it while the breaker rejects it."""
        deadline_s, pause = monotonic() + 20, threading.Event()
        while monotonic() < deadline_s:
            try:
                self._send_once(number)
                return
            except DatabaseUnavailable:
                self.count("rejected")
                pause.wait(0.05)
        self.errors.append(f"request {number} was rejected for 20 s")

    def _send_once(self, number: int) -> None:
        rng = random.Random(number)
        tenant = self.tenants[rng.randrange(2)]
        if number % (REQUEST_COUNT // KILL_COUNT) == 77:
            self._kill_backend(tenant)
        elif number % (REQUEST_COUNT // HTTP_REQUEST_COUNT) == 0:
            self._request_over_http(tenant, is_invalid=rng.randrange(12) == 0)
        elif rng.randrange(12) == 0:
            self._fail(tenant, rng.choice(FAILURE_KINDS))
        else:
            self._read(tenant)
        self.count("done")

    def _read(self, tenant: Tenant) -> None:
        with tenant_session(tenant.ref, database=app_services().database) as session:
            sentences = session.scalars(SENTENCE_QUERY).all()
        self._check_sentences(tenant, sentences)
        self.count("session")

    def _request_over_http(self, tenant: Tenant, *, is_invalid: bool) -> None:
        if is_invalid:
            response = tenant.patch("/settings", {"time_zone": "Nowhere/Land"})
            if response.status_code == 503:
                raise DatabaseUnavailable
            assert response.status_code == 400
            self.count("failed")
            return
        response = tenant.get("/settings")
        if response.status_code == 503:
            raise DatabaseUnavailable
        self._check_sentences(tenant, [response.json["sentences"]["closed"]])
        self.count("http")

    def _fail(self, tenant: Tenant, kind: str) -> None:
        statement = {
            "statement": "SELECT 1 / 0",
            "timeout": "SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)",
            "missing table": "SELECT * FROM no_such_table",
        }.get(kind)
        try:
            with (
                public_session(database=app_services().database)
                if kind == "no tenant"
                else tenant_session(tenant.ref, database=app_services().database) as session
            ):
                if statement is None:
                    raise KeyError("test")
                session.connection().exec_driver_sql(statement)
        except DatabaseUnavailable as error:
            if error.__cause__ is None:
                raise  # the breaker rejected the request
        except (KeyError, DBAPIError, DatabaseBusy):
            pass
        else:
            self.errors.append(f"{kind} raised no error")
        self.count("failed")

    def _kill_backend(self, tenant: Tenant) -> None:
        try:
            with tenant_session(tenant.ref, database=app_services().database) as session:
                pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
                self.db_snapshot.rows("SELECT pg_terminate_backend(%s)", pid)
                session.execute(text("SELECT pg_sleep(5)"))
        except DatabaseUnavailable as error:
            if error.__cause__ is None:
                raise
        self.count("killed")

    def _check_sentences(self, tenant: Tenant, sentences: Sequence[str | None]) -> None:
        if list(sentences) != [f"closed at {tenant.id}"]:
            self.errors.append(f"{tenant.id} read {sentences}")


def test_mixed_requests_leave_no_connection_with_a_tenants_path(
    acme: Tenant, globex: Tenant, make_pool: MakePool, db_snapshot: SnapshotChecker
) -> None:
    """Send a fifth of the requests through the application, and open sessions for the rest.

    Sending all of them through WSGI would take half a minute. A listener queries the search path
    of the connection at each checkout from the pool.
    """
    for tenant in (acme, globex):
        tenant.patch("/settings", {"sentences": {"closed": f"closed at {tenant.id}"}})
    database = use_database(make_pool(POOL_SIZE))
    default_path = db_snapshot.rows("SHOW search_path")[0][0]
    checkouts: Counter[tuple[str, str]] = Counter()

    @event.listens_for(database.engine, "checkout")
    def record_search_path(connection: Any, *_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('search_path'), current_setting('vca.tenant_id', true)"
            )
            path, tenant = cursor.fetchone()
            checkouts[path, tenant or ""] += 1

    traffic = Traffic([acme, globex], db_snapshot)
    with ThreadPoolExecutor(THREAD_COUNT) as threads:
        list(threads.map(traffic.send_request, range(REQUEST_COUNT)))

    assert traffic.errors == []
    assert set(checkouts) == {(default_path, "")}
    assert checkouts.total() >= REQUEST_COUNT
    counts = traffic.counts
    assert counts["done"] == REQUEST_COUNT
    assert counts["killed"] >= KILL_COUNT
    assert counts["failed"] >= REQUEST_COUNT // 20
    assert counts["http"] >= HTTP_REQUEST_COUNT // 2
    assert _queue_pool(database).checkedout() == 0
    assert _queue_pool(database).checkedin() <= POOL_SIZE


def _queue_pool(database: TenantDatabase) -> QueuePool:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool


def visit_tenant(tenant: Tenant, database: TenantDatabase) -> int:
    """Open a session of the tenant and return the pid of the server process."""
    with tenant_session(tenant.ref, database=database) as session:
        pid: int = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        return pid


def test_a_connection_is_replaced_before_it_serves_more_tenants_than_the_limit(
    world: Factory, make_pool: MakePool
) -> None:
    database = make_pool(1, tenants_per_connection=3)
    tenants = [world.tenant(f"Number {index}") for index in range(5)]

    pids = [
        visit_tenant(tenant, database)
        for tenant in (*tenants[:2], *tenants[:2], tenants[2], *tenants[2:])
    ]

    assert len(set(pids[:5])) == 1
    assert len(set(pids[5:])) == 1
    assert pids[4] != pids[5]


@pytest.mark.parametrize(
    ("tables", "tenant_count"), [(("settings",), 4), (("settings", "calls"), 3)]
)
def test_a_tenant_counts_towards_the_limit_by_the_tables_it_reads(
    world: Factory, make_pool: MakePool, tables: tuple[str, ...], tenant_count: int
) -> None:
    """The limit of three schemas counts two tables and the schema itself for each of them."""
    database = make_pool(1, tenants_per_connection=3, tenant_tables=("settings", "calls"))
    pids = []
    for index in range(tenant_count + 1):
        with tenant_session(world.tenant(f"Number {index}").ref, database=database) as session:
            for table in tables:
                session.execute(text(f"SELECT FROM {table}"))
            pids.append(session.execute(text("SELECT pg_backend_pid()")).scalar_one())

    assert len(set(pids[:tenant_count])) == 1
    assert pids[tenant_count] != pids[0]


def test_a_new_connection_starts_with_an_empty_catalogue_cache(
    acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    database = make_pool(1, tenants_per_connection=2)

    pids = [visit_tenant(tenant, database) for tenant in (acme, globex, acme, globex)]

    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_pool_with_another_dsn_has_the_same_tenant_limit(
    acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    database = make_pool(1, tenants_per_connection=1)
    other_database = database.with_dsn(database.dsn, pool_size=1)

    pids = [visit_tenant(tenant, other_database) for tenant in (acme, globex)]
    other_database.close()

    assert pids[0] != pids[1]


def test_a_connection_at_its_limit_is_closed_when_it_returns_to_the_pool(
    world: Factory, make_pool: MakePool
) -> None:
    database = make_pool(1, tenants_per_connection=1)
    pids = []
    for index in range(3):
        with (
            database.connection() as connection,
            open_tenant(connection, world.tenant(f"{index}").ref, database=app_services().database),
        ):
            pids.append(connection.connection.dbapi_connection.get_backend_pid())  # type: ignore[union-attr]

    assert len(set(pids)) == 3


def test_the_most_recently_used_connection_serves_the_next_tenant(
    world: Factory, make_pool: MakePool
) -> None:
    database = make_pool(3)
    with database.connection() as first, database.connection() as second:
        open_pids = [_backend_pid(first), _backend_pid(second)]

    pids = [visit_tenant(world.tenant(f"Number {index}"), database) for index in range(3)]

    assert len(set(pids)) == 1
    assert pids[0] in open_pids
    assert _queue_pool(database).checkedin() == 2


def _backend_pid(connection: Any) -> int:
    pid: int = connection.connection.dbapi_connection.get_backend_pid()
    return pid


def test_a_new_tenant_waits_for_the_only_connection_in_use(
    world: Factory, make_pool: MakePool
) -> None:
    database = make_pool(1, tenants_per_connection=1)
    first, second = world.tenant("First"), world.tenant("Second")
    with ThreadPoolExecutor(1) as threads, tenant_session(first.ref, database=database):
        pending_visit = threads.submit(visit_tenant, second, database)
        with pytest.raises(TimeoutError):
            pending_visit.result(0.1)
    assert pending_visit.result(10) != visit_tenant(first, database)


def test_failed_session_entries_do_not_exhaust_the_pool(acme: Tenant, make_pool: MakePool) -> None:
    database = use_database(make_pool(1))

    for _ in range(20):
        with (
            pytest.raises(IsolationError),
            tenant_session(TenantRef(uuid4()), database=app_services().database) as session,
        ):
            execute_unreachable(session)

    with tenant_session(acme.ref, database=app_services().database) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]
    assert _queue_pool(database).checkedout() == 0


def test_an_expired_request_deadline_does_not_open_the_breaker(
    acme: Tenant, make_pool: MakePool
) -> None:
    """A request that is late for other reasons does not open the breaker."""
    database = make_pool(1)

    with deadline.within(0), tenant_session(acme.ref, database=database) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]
    with deadline.within(0), pytest.raises(DatabaseUnavailable):  # noqa: SIM117
        with tenant_session(acme.ref, database=database) as session:
            session.execute(text("SELECT pg_sleep(5)"))

    with tenant_session(acme.ref, database=database) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]


def test_a_trial_request_without_a_result_is_repeated_after_a_pause(
    acme: Tenant, make_pool: MakePool
) -> None:
    """An exception of the request that tests the server says nothing about the server."""
    database = make_pool(1)
    database.breaker = create_breaker(pause_s=0.05)
    database.breaker.failed("connection_failed")
    time.sleep(0.06)

    with pytest.raises(KeyError), database.connection():
        raise KeyError("test")
    time.sleep(0.06)

    with tenant_session(acme.ref, database=database) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]
