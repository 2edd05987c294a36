"""Tests of the product behind PgBouncer in transaction mode, where tenants share connections."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.support.ast_index import ROOT
from tests.support.factories import Factory, Tenant
from tests.support.pooler import PGBOUNCER, SERVER_CONNECTIONS, Pooler, run_pgbouncer
from tests.support.services import app_services, open_database, use_database
from vca.kit import db
from vca.kit.db import DatabaseBusy, DatabaseUnavailable
from vca.kit.db.dialect import SESSION_SETTINGS_KEY
from vca.settings import Settings as ProductSettings
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.settings.models import Settings

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None,
    reason="pgbouncer is not installed (Debian and Ubuntu: apt install pgbouncer)",
)

CLIENT_COUNT = 16
# If a failure of one kind leaked a search path, a later read would detect it with a probability of
# one half. With this many failures of each kind, a leak stays undetected once in a billion runs.
READ_COUNT = 1_280
MIN_FAILURES = 30
# The README recommends this line for new connections to the server.
CONNECT_QUERY = (
    'connect_query=\'SET timezone = "UTC"; SET statement_timeout = 3000; SET lock_timeout = 2000;'
    " SET idle_in_transaction_session_timeout = 15000'"
)
EXPECTED_SETTINGS = ("3s", "2s", "15s", "UTC")
_SETTINGS_QUERY = text(
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " current_setting('idle_in_transaction_session_timeout'), current_setting('timezone')"
)
_PID = func.pg_backend_pid()
OpenSession = Callable[[TenantRef], AbstractContextManager[Any]]


@pytest.fixture
def pooler(settings: ProductSettings, tmp_path: Path) -> Iterator[Pooler]:
    """Return a PgBouncer with two connections to the server."""
    with run_pgbouncer(settings.database_dsn, tmp_path) as pooler:
        yield pooler


@pytest.fixture
def pooled_database(app: Flask, pooler: Pooler) -> Iterator[TenantDatabase]:
    """Return the database through PgBouncer."""
    database = open_database(pooler.url, pool_size=CLIENT_COUNT)
    yield database
    database.close()


class Load:
    """Reads of two tenants by many clients; every eighth read follows a failure."""

    def __init__(self, open_session: OpenSession, *tenants: Tenant) -> None:
        self.open_session = open_session
        self.tenants = tenants
        self.counts: Counter[str] = Counter()
        self.backend_pids: set[int] = set()
        self._lock = threading.Lock()

    def run(self) -> Counter[str]:
        """Run the clients, each with one tenant, and return the counts by kind of result."""
        with ThreadPoolExecutor(CLIENT_COUNT) as threads:
            list(threads.map(self._run_client, range(CLIENT_COUNT)))
        return self.counts

    def _run_client(self, client: int) -> None:
        rng = random.Random(client)
        tenant = self.tenants[client % len(self.tenants)]
        failures = (
            self._run_bad_statement,
            self._exceed_timeout,
            self._roll_back,
            self._raise_exception,
        )
        for _ in range(READ_COUNT // CLIENT_COUNT):
            if rng.randrange(8) == 0:
                self._count(rng.choice(failures)(tenant))
            self._count(self._read(tenant))

    def _count(self, kind: str) -> None:
        with self._lock:
            self.counts[kind] += 1

    def _read(self, tenant: Tenant) -> str:
        with self.open_session(tenant.ref) as session:
            tenant_id, backend_pid = session.execute(select(Settings.tenant_id, _PID)).one()
        self.backend_pids.add(backend_pid)
        return "right" if tenant_id == tenant.ref.id else "wrong"

    def _run_bad_statement(self, tenant: Tenant) -> str:
        with pytest.raises(DBAPIError), self.open_session(tenant.ref) as session:
            session.execute(text("SELECT 1 / 0"))
        return "bad statement"

    def _exceed_timeout(self, tenant: Tenant) -> str:
        with pytest.raises(DatabaseBusy), self.open_session(tenant.ref) as session:
            session.execute(text("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)"))
        return "time-out"

    def _roll_back(self, tenant: Tenant) -> str:
        with self.open_session(tenant.ref) as session:
            session.execute(select(Settings.tenant_id))
            session.rollback()
        return "rollback"

    def _raise_exception(self, tenant: Tenant) -> str:
        with pytest.raises(KeyError), self.open_session(tenant.ref) as session:
            {}[session.scalar(select(Settings.tenant_id))]
        return "exception"


def _failure_counts(counts: Counter[str]) -> list[int]:
    return [counts[kind] for kind in ("bad statement", "time-out", "rollback", "exception")]


def test_no_client_reads_a_row_of_another_tenant(
    acme: Tenant, globex: Tenant, pooled_database: TenantDatabase
) -> None:
    load = Load(lambda tenant: tenant_session(tenant, database=pooled_database), acme, globex)

    counts = load.run()

    assert counts["wrong"] == 0
    assert counts["right"] == READ_COUNT
    assert min(_failure_counts(counts)) >= MIN_FAILURES
    assert len(load.backend_pids) == SERVER_CONNECTIONS


@pytest.fixture
def open_session_with_set(
    app: Flask, database_url: str, tmp_path: Path, acme: Tenant
) -> Iterator[OpenSession]:
    """Return a common but unsafe way to open a session: SET search_path once per connection.

    The login owns all tables, so no tenant role prevents a wrong read. Both connections to the
    server already have a search path.
    """
    with ExitStack() as stack:
        pooler = stack.enter_context(run_pgbouncer(database_url, tmp_path))
        database = open_database(pooler.url, pool_size=CLIENT_COUNT)
        stack.callback(database.close)
        yield from _open_sessions_with_set(database, acme)


def _open_sessions_with_set(database: TenantDatabase, acme: Tenant) -> Iterator[OpenSession]:
    with ExitStack() as stack:
        for _ in range(SERVER_CONNECTIONS):
            session = stack.enter_context(public_session(database=database))
            session.execute(text(f'SET search_path TO "{acme.ref.schema}"'))

    @contextmanager
    def open_session(tenant: TenantRef) -> Iterator[Session]:
        with database.connection() as connection:
            info = connection.connection.info
            if info.get("path") != tenant.schema:
                connection.exec_driver_sql(f'SET search_path TO "{tenant.schema}"')
                info["path"] = tenant.schema
            db.set_begin_sql(connection, "BEGIN")
            with Session(connection) as session:
                yield session
                session.commit()

    yield open_session


def test_a_search_path_set_for_a_connection_leaks_rows_of_other_tenants(
    acme: Tenant, globex: Tenant, open_session_with_set: OpenSession
) -> None:
    """Check that the previous test can fail, with SET instead of SET LOCAL."""
    counts = Load(open_session_with_set, acme, globex).run()

    assert counts["wrong"] > 0
    assert counts["wrong"] + counts["right"] == READ_COUNT
    assert min(_failure_counts(counts)) >= MIN_FAILURES


def test_timeouts_and_time_zone_apply_to_every_transaction_and_end_with_it(
    acme: Tenant, pooled_database: TenantDatabase
) -> None:
    with tenant_session(acme.ref, database=pooled_database) as session:
        inside = session.execute(_SETTINGS_QUERY).one()
    with public_session(database=pooled_database) as session:
        outside = session.execute(_SETTINGS_QUERY).one()
    with pooled_database.connection() as connection:
        after = connection.execute(_SETTINGS_QUERY).one()

    assert inside == EXPECTED_SETTINGS
    assert outside == EXPECTED_SETTINGS
    assert after != EXPECTED_SETTINGS, "the pooler did not ignore the options"


def test_the_lock_timeout_applies_behind_the_pooler(
    acme: Tenant, pooled_database: TenantDatabase
) -> None:
    """The lock timeout of the server ends the wait; the client's would close the connection."""
    lock_row = text("SELECT id FROM settings FOR UPDATE")
    with tenant_session(acme.ref, database=app_services().database) as holder:
        holder.execute(lock_row)
        with (
            pytest.raises(DatabaseBusy) as error,
            tenant_session(acme.ref, database=pooled_database) as session,
        ):
            session.execute(lock_row)

    assert "lock timeout" in str(error.value.__cause__ or error.value)


def test_transactions_do_not_repeat_settings_that_the_connection_has(
    app: Flask, acme: Tenant, settings: ProductSettings, tmp_path: Path
) -> None:
    with run_pgbouncer(settings.database_dsn, tmp_path, database_options=CONNECT_QUERY) as pooler:
        database = open_database(pooler.url)
        with database.connection() as connection:
            outside = connection.execute(_SETTINGS_QUERY).one()
            begin_settings = connection.connection.info[SESSION_SETTINGS_KEY]
        with tenant_session(acme.ref, database=database) as session:
            inside = session.execute(_SETTINGS_QUERY).one()
        database.close()

    assert begin_settings == ""
    assert outside == EXPECTED_SETTINGS
    assert inside == EXPECTED_SETTINGS


def test_the_readme_shows_the_recommended_connect_query() -> None:
    assert f"vca = host=… dbname=vca {CONNECT_QUERY}\n" in (ROOT / "README.md").read_text()


def test_a_connection_without_a_pooler_does_not_repeat_its_settings(app: Flask) -> None:
    with app_services().database.connection() as connection:
        assert connection.connection.info[SESSION_SETTINGS_KEY] == ""


def test_a_pooler_that_does_not_ignore_options_rejects_the_connection(
    app: Flask, settings: ProductSettings, tmp_path: Path
) -> None:
    with run_pgbouncer(
        settings.database_dsn, tmp_path, ignored_parameters="extra_float_digits"
    ) as pooler:
        database = open_database(pooler.url)
        with pytest.raises(DatabaseUnavailable) as error, database.connection():
            pytest.fail("connected")
        database.close()

    assert "unsupported startup parameter: options" in str(error.value.__cause__)


def test_tenants_can_use_the_api_through_the_pooler(
    world: Factory, pooled_database: TenantDatabase
) -> None:
    """Each tenant reads only its own numbers and calls."""
    use_database(pooled_database)
    tenants = [world.tenant(name) for name in ("Acme", "Globex")]
    numbers = {}
    for tenant in tenants:
        tenant.profile(greeting=f"This is {tenant.id}.")
        numbers[tenant.id] = tenant.number(label=tenant.id)["did_number"]
        assert world.run_jobs(tenant) == ["phone_numbers.register"]

    for tenant in tenants * 3:
        call = tenant.simulate(numbers[tenant.id])
        tenant.say(call["call_id"], "Hello?")
        response = tenant.post("/phone-numbers", {"did_number": numbers[tenants[0].id]})
        tenant_numbers = tenant.get("/phone-numbers").json

        assert response.status_code == 409
        assert [number["label"] for number in tenant_numbers] == [tenant.id]
    for tenant in tenants:
        calls = tenant.get("/calls").json
        assert len(calls) == 3
        assert {call["called_number"] for call in calls} == {numbers[tenant.id]}
        assert {call["tenant_id"] for call in calls} == {tenant.id}
