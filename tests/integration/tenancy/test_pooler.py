"""Behind PgBouncer in transaction mode: a server's connection is everybody's, rows are not."""

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
from vca.kit import db
from vca.kit.db import Database, DatabaseBusy, DatabaseUnavailable
from vca.kit.db.dialect import SESSION_SETTINGS_KEY
from vca.settings import Settings as Config
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import public_session, tenant_session
from vca.tenant.settings.models import Settings

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None,
    reason="pgbouncer is not installed (Debian and Ubuntu: apt install pgbouncer)",
)

CLIENTS = 16
# A door that lets one read in after a break of one kind would be seen at that read with a chance of
# one half, and there are BREAKS of each kind: it stays unseen once in a billion runs.
READS = 1_280
BREAKS = 30
# What README tells the operator to let each new connection to the server begin with.
CONNECT_QUERY = (
    'connect_query=\'SET timezone = "UTC"; SET statement_timeout = 3000; SET lock_timeout = 2000;'
    " SET idle_in_transaction_session_timeout = 15000'"
)
BOUNDS = ("3s", "2s", "15s", "UTC")
_SHOWN = text(
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " current_setting('idle_in_transaction_session_timeout'), current_setting('timezone')"
)
_PID = func.pg_backend_pid()
Door = Callable[[TenantRef], AbstractContextManager[Any]]


@pytest.fixture
def pooler(settings: Config, tmp_path: Path) -> Iterator[Pooler]:
    """PgBouncer with two connections to the server."""
    with run_pgbouncer(settings.database_dsn, tmp_path) as running:
        yield running


@pytest.fixture
def pooled_database(app: Flask, pooler: Pooler) -> Iterator[Database]:
    """The database as the product sees it through PgBouncer."""
    database = Database(pooler.url, pool_size=CLIENTS)
    yield database
    database.close()


# --- Rows --------------------------------------------------------------------------------------


class Load:
    """Reads of two tenants by many clients, every eighth broken in one of four ways."""

    def __init__(self, door: Door, *tenants: Tenant) -> None:
        self.door = door
        self.tenants = tenants
        self.counts: Counter[str] = Counter()
        self.servers: set[int] = set()
        self._lock = threading.Lock()

    def run(self) -> Counter[str]:
        """Each client stays with its tenant, as a worker thread with one customer's requests."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            list(threads.map(self._client, range(CLIENTS)))
        return self.counts

    def _client(self, client: int) -> None:
        chance = random.Random(client)
        tenant = self.tenants[client % len(self.tenants)]
        breaks = (self._bad_statement, self._time_out, self._rollback, self._exception)
        for _ in range(READS // CLIENTS):
            if chance.randrange(8) == 0:
                self._note(chance.choice(breaks)(tenant))
            self._note(self._read(tenant))

    def _note(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _read(self, tenant: Tenant) -> str:
        with self.door(tenant.ref) as session:
            found, server = session.execute(select(Settings.tenant_id, _PID)).one()
        self.servers.add(server)
        return "right" if found == tenant.ref.id else "wrong"

    def _bad_statement(self, tenant: Tenant) -> str:
        with pytest.raises(DBAPIError), self.door(tenant.ref) as session:
            session.execute(text("SELECT 1 / 0"))
        return "bad statement"

    def _time_out(self, tenant: Tenant) -> str:
        with pytest.raises(DatabaseBusy), self.door(tenant.ref) as session:
            session.execute(text("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)"))
        return "time-out"

    def _rollback(self, tenant: Tenant) -> str:
        with self.door(tenant.ref) as session:
            session.execute(select(Settings.tenant_id))
            session.rollback()
        return "rollback"

    def _exception(self, tenant: Tenant) -> str:
        with pytest.raises(KeyError), self.door(tenant.ref) as session:
            {}[session.scalar(select(Settings.tenant_id))]
        return "exception"


def _forced(counts: Counter[str]) -> list[int]:
    return [counts[kind] for kind in ("bad statement", "time-out", "rollback", "exception")]


def test_no_client_is_shown_another_tenants_row(
    acme: Tenant, globex: Tenant, pooled_database: Database
) -> None:
    load = Load(lambda tenant: tenant_session(tenant, database=pooled_database), acme, globex)

    counts = load.run()

    assert counts["wrong"] == 0
    assert counts["right"] == READS
    assert min(_forced(counts)) >= BREAKS
    assert len(load.servers) == SERVER_CONNECTIONS


@pytest.fixture
def sessionwide(app: Flask, database_url: str, tmp_path: Path, acme: Tenant) -> Iterator[Door]:
    """A door as it is often built: each connection's path is set once, and again on a change.

    And as one login for all tenants, which owns what it reads: no role would stand in its way.
    Both of the server's connections have been used before: a path is set on each.
    """
    with ExitStack() as stack:
        running = stack.enter_context(run_pgbouncer(database_url, tmp_path))
        behind = Database(running.url, pool_size=CLIENTS)
        stack.callback(behind.close)
        yield from _sessionwide(behind, acme)


def _sessionwide(behind: Database, acme: Tenant) -> Iterator[Door]:
    with ExitStack() as stack:
        for _ in range(SERVER_CONNECTIONS):
            session = stack.enter_context(public_session(database=behind))
            session.execute(text(f'SET search_path TO "{acme.ref.schema}"'))

    @contextmanager
    def go_in(tenant: TenantRef) -> Iterator[Session]:
        with behind.connection() as connection:
            info = connection.connection.info
            if info.get("path") != tenant.schema:
                connection.exec_driver_sql(f'SET search_path TO "{tenant.schema}"')
                info["path"] = tenant.schema
            db.set_begin_sql(connection, "BEGIN")
            with Session(connection) as session:
                yield session
                session.commit()

    yield go_in


def test_a_path_that_is_set_for_a_connection_shows_other_tenants_rows(
    acme: Tenant, globex: Tenant, sessionwide: Door
) -> None:
    """That the test above can fail: the same load, with SET where the door has SET LOCAL."""
    counts = Load(sessionwide, acme, globex).run()

    assert counts["wrong"] > 0
    assert counts["wrong"] + counts["right"] == READS
    assert min(_forced(counts)) >= BREAKS


# --- Time-outs ---------------------------------------------------------------------------------


def test_time_outs_and_time_zone_hold_in_every_transaction_and_do_not_outlive_it(
    acme: Tenant, pooled_database: Database
) -> None:
    with tenant_session(acme.ref, database=pooled_database) as session:
        inside = session.execute(_SHOWN).one()
    with public_session(database=pooled_database) as session:
        outside = session.execute(_SHOWN).one()
    with pooled_database.connection() as connection:
        between = connection.execute(_SHOWN).one()

    assert inside == BOUNDS
    assert outside == BOUNDS
    assert between != BOUNDS, "the pooler kept what it was told to ignore"


def test_a_lock_is_not_waited_for_longer_than_without_the_pooler(
    acme: Tenant, pooled_database: Database
) -> None:
    """The server's two seconds; ours would be four, and would cost the connection."""
    row = text("SELECT id FROM settings FOR UPDATE")
    with tenant_session(acme.ref) as holder:
        holder.execute(row)
        with (
            pytest.raises(DatabaseBusy) as refused,
            tenant_session(acme.ref, database=pooled_database) as session,
        ):
            session.execute(row)

    assert "lock timeout" in str(refused.value.__cause__ or refused.value)


def test_a_server_that_sets_them_for_each_connection_is_not_told_again(
    app: Flask, acme: Tenant, settings: Config, tmp_path: Path
) -> None:
    with run_pgbouncer(settings.database_dsn, tmp_path, database_options=CONNECT_QUERY) as pooler:
        database = Database(pooler.url)
        with database.connection() as connection:
            between = connection.execute(_SHOWN).one()
            again = connection.connection.info[SESSION_SETTINGS_KEY]
        with tenant_session(acme.ref, database=database) as session:
            inside = session.execute(_SHOWN).one()
        database.close()

    assert again == ""
    assert between == BOUNDS
    assert inside == BOUNDS


def test_the_readme_shows_the_same_line() -> None:
    assert f"vca = host=… dbname=vca {CONNECT_QUERY}\n" in (ROOT / "README.md").read_text()


def test_a_connection_without_a_pooler_sets_nothing_again(app: Flask) -> None:
    with db.current_database().connection() as connection:
        assert connection.connection.info[SESSION_SETTINGS_KEY] == ""


def test_a_pooler_that_is_not_told_to_ignore_the_options_refuses_the_connection(
    app: Flask, settings: Config, tmp_path: Path
) -> None:
    with run_pgbouncer(
        settings.database_dsn, tmp_path, ignored_parameters="extra_float_digits"
    ) as pooler:
        database = Database(pooler.url)
        with pytest.raises(DatabaseUnavailable) as refused, database.connection():
            pytest.fail("connected")
        database.close()

    assert "unsupported startup parameter: options" in str(refused.value.__cause__)


# --- The product -------------------------------------------------------------------------------


def test_the_whole_product_works_through_the_pooler(
    world: Factory, pooled_database: Database
) -> None:
    """Tenants are made, numbers claimed, calls held and jobs enqueued; each sees its own."""
    db.set_current_database(pooled_database)
    tenants = [world.tenant(name) for name in ("Acme", "Globex")]
    numbers = {}
    for tenant in tenants:
        tenant.profile(greeting=f"This is {tenant.id}.")
        numbers[tenant.id] = tenant.number(label=tenant.id)["did_number"]
        assert world.run_jobs(tenant) == ["phone_numbers.register"]

    for tenant in tenants * 3:
        call = tenant.simulate(numbers[tenant.id])
        tenant.say(call["call_id"], "Hello?")
        refused = tenant.post("/phone-numbers", {"did_number": numbers[tenants[0].id]})
        listed = tenant.get("/phone-numbers").json

        assert refused.status_code == 409
        assert [number["label"] for number in listed] == [tenant.id]
    for tenant in tenants:
        calls = tenant.get("/calls").json
        assert len(calls) == 3
        assert {call["called_number"] for call in calls} == {numbers[tenant.id]}
        assert {call["tenant_id"] for call in calls} == {tenant.id}
