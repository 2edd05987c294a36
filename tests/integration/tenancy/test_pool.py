"""A pool that all tenants share: what one leaves behind, no other finds."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from vca.kit import db, deadline
from vca.kit.db import Database, DatabaseBusy, DatabaseUnavailable, timeouts
from vca.kit.db.breaker import Breaker
from vca.kit.db.schema_affinity import SPREAD_DIVISOR
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, open_tenant, public_session, tenant_session
from vca.tenant.settings.models import Settings

Pool = Callable[..., Database]
# `make bench` makes 10,000.
REQUESTS = int(os.environ.get("POOL_REQUESTS", "2000"))
OVER_HTTP = REQUESTS // 5
KILLS = 3
THREADS = 6
SIZE = 5
SENTENCE = select(Settings.sentences["closed"].astext)
BREAKS = ("ours", "statement", "time-out", "missing", "none")


class Traffic:
    """Mixed requests of two tenants, every twelfth of them broken on purpose."""

    def __init__(
        self, tenants: list[Tenant], database: Database, evidence: SnapshotChecker
    ) -> None:
        self.tenants = tenants
        self.database = database
        self.evidence = evidence
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def note(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def run(self, number: int) -> None:
        """Request `number`; one that the breaker turns away is made again."""
        ends_at, pause = monotonic() + 20, threading.Event()
        while monotonic() < ends_at:
            try:
                self._once(number)
                return
            except DatabaseUnavailable:
                self.note("turned away")
                pause.wait(0.05)
        self.wrong.append(f"request {number} was turned away for 20 s")

    def _once(self, number: int) -> None:
        chance = random.Random(number)
        tenant = self.tenants[chance.randrange(2)]
        if number % (REQUESTS // KILLS) == 77:
            self._killed(tenant)
        elif number % (REQUESTS // OVER_HTTP) == 0:
            self._over_http(tenant, broken=chance.randrange(12) == 0)
        elif chance.randrange(12) == 0:
            self._broken(tenant, chance.choice(BREAKS))
        else:
            self._read(tenant)
        self.note("done")

    def _read(self, tenant: Tenant) -> None:
        with tenant_session(tenant.ref) as session:
            found = session.scalars(SENTENCE).all()
        self._judge(tenant, found)
        self.note("door")

    def _over_http(self, tenant: Tenant, *, broken: bool) -> None:
        if broken:
            answer = tenant.patch("/settings", {"time_zone": "Nowhere/Land"})
            if answer.status_code == 503:
                raise DatabaseUnavailable
            assert answer.status_code == 400
            self.note("forced")
            return
        answer = tenant.get("/settings")
        if answer.status_code == 503:
            raise DatabaseUnavailable
        self._judge(tenant, [answer.json["sentences"]["closed"]])
        self.note("http")

    def _broken(self, tenant: Tenant, how: str) -> None:
        statement = {
            "statement": "SELECT 1 / 0",
            "time-out": "SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)",
            "missing": "SELECT * FROM no_such_table",
        }.get(how)
        try:
            with public_session() if how == "none" else tenant_session(tenant.ref) as session:
                if statement is None:
                    raise KeyError("of ours")
                session.connection().exec_driver_sql(statement)
        except DatabaseUnavailable as error:
            if error.__cause__ is None:
                raise  # the breaker's, not the statement's
        except (KeyError, DBAPIError, DatabaseBusy):
            pass
        else:
            self.wrong.append(f"{how} was no error")
        self.note("forced")

    def _killed(self, tenant: Tenant) -> None:
        try:
            with tenant_session(tenant.ref) as session:
                pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
                self.evidence.rows("SELECT pg_terminate_backend(%s)", pid)
                session.execute(text("SELECT pg_sleep(5)"))
        except DatabaseUnavailable as error:
            if error.__cause__ is None:
                raise
        self.note("killed")

    def _judge(self, tenant: Tenant, found: Any) -> None:
        if list(found) != [f"closed at {tenant.id}"]:
            self.wrong.append(f"{tenant.id} was shown {found}")


def test_mixed_requests_leave_no_connection_with_a_tenants_path(
    acme: Tenant, globex: Tenant, make_pool: Pool, db_snapshot: SnapshotChecker
) -> None:
    """A fifth go through the whole application, the rest through the door that it uses.

    Through WSGI alone ten thousand would take half a minute of a core. Each checkout of the pool is
    asked for its path, by the pool's own event and in the server's own words.
    """
    for tenant in (acme, globex):
        tenant.patch("/settings", {"sentences": {"closed": f"closed at {tenant.id}"}})
    database = db.set_current_database(make_pool(SIZE))
    clean = db_snapshot.rows("SHOW search_path")[0][0]
    checkouts: Counter[tuple[str, str]] = Counter()

    @event.listens_for(database.engine, "checkout")
    def look(connection: Any, *_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('search_path'), current_setting('vca.tenant_id', true)"
            )
            path, tenant = cursor.fetchone()
            checkouts[path, tenant or ""] += 1

    traffic = Traffic([acme, globex], database, db_snapshot)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(traffic.run, range(REQUESTS)))

    assert traffic.wrong == []
    assert set(checkouts) == {(clean, "")}
    assert checkouts.total() >= REQUESTS
    counts = traffic.counts
    assert counts["done"] == REQUESTS
    assert counts["killed"] >= KILLS
    assert counts["forced"] >= REQUESTS // 20
    assert counts["http"] >= OVER_HTTP // 2
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert database.engine.pool.checkedin() <= SIZE  # type: ignore[attr-defined]


def visit(tenant: Tenant, database: Database) -> int:
    """The process id of the server's end."""
    with tenant_session(tenant.ref, database=database) as session:
        pid: int = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
        return pid


def test_a_connection_is_retired_before_it_sees_more_tenants_than_the_limit(
    world: Factory, make_pool: Pool
) -> None:
    one = make_pool(1, tenants_per_connection=3)
    tenants = [world.tenant(f"Number {index}") for index in range(5)]

    first = [visit(tenant, one) for tenant in (*tenants[:3], *tenants[:3], tenants[0])]
    after = [visit(tenant, one) for tenant in (*tenants[3:], tenants[2], *tenants[2:])]

    assert len(set(first)) == 1
    assert len(set(after)) == 1
    assert set(first) != set(after)


@pytest.mark.parametrize(("read", "served"), [(("settings",), 4), (("settings", "calls"), 3)])
def test_a_tenant_counts_by_the_tables_that_were_touched(
    world: Factory, make_pool: Pool, read: tuple[str, ...], served: int
) -> None:
    """At most three whole ones of two tables and the schema itself; a new one may be whole."""
    one = make_pool(1, tenants_per_connection=3, tenant_tables=("settings", "calls"))
    pids = []
    for index in range(served + 1):
        with tenant_session(world.tenant(f"Number {index}").ref, database=one) as session:
            for table in read:
                session.execute(text(f"SELECT FROM {table}"))
            pids.append(session.execute(text("SELECT pg_backend_pid()")).scalar_one())

    assert len(set(pids[:served])) == 1
    assert pids[served] != pids[0]


def test_a_connection_remembers_nothing_of_the_one_that_it_replaced(
    acme: Tenant, globex: Tenant, make_pool: Pool
) -> None:
    one = make_pool(1, tenants_per_connection=1, tenant_tables=("settings", "calls"))

    pids = [visit(tenant, one) for tenant in (acme, globex, globex, acme)]

    assert pids[0] != pids[1] == pids[2] != pids[3]


def test_another_way_to_the_database_has_the_same_bound(
    acme: Tenant, globex: Tenant, make_pool: Pool
) -> None:
    this = make_pool(1, tenants_per_connection=1)
    other = this.with_dsn(this.dsn, pool_size=1)

    pids = [visit(tenant, other) for tenant in (acme, globex)]
    other.close()

    assert pids[0] != pids[1]


def test_a_connection_that_was_given_out_for_nobody_is_retired_on_its_return(
    world: Factory, make_pool: Pool
) -> None:
    one = make_pool(1, tenants_per_connection=1)
    pids = []
    for index in range(3):
        with one.connection() as connection, open_tenant(connection, world.tenant(f"{index}").ref):
            pids.append(connection.connection.dbapi_connection.get_backend_pid())  # type: ignore[union-attr]

    assert pids[0] == pids[1] != pids[2]


def test_a_tenant_is_served_by_the_connection_that_knows_it(
    world: Factory, make_pool: Pool
) -> None:
    many = make_pool(3, tenants_per_connection=2)
    tenants = [world.tenant(f"Number {index}") for index in range(6)]

    first = [visit(tenant, many) for tenant in tenants]
    again = [visit(tenant, many) for tenant in tenants[::-1]]

    assert [first.count(pid) for pid in first] == [2] * 6, "each knows two, and there are three"
    assert again == first[::-1]


def test_connections_are_opened_long_before_one_is_full(world: Factory, make_pool: Pool) -> None:
    two = make_pool(2, tenants_per_connection=2 * SPREAD_DIVISOR)

    first, again, third, fourth, fifth = (visit(world.tenant(f"{n}"), two) for n in range(5))

    assert first == again, "an eighth is two"
    assert third == fourth != first
    assert fifth == first, "no other may be opened: the longest idle one has room"


def test_a_request_asks_for_the_connection_that_knows_its_tenant(
    acme: Tenant, globex: Tenant, make_pool: Pool
) -> None:
    many = db.set_current_database(make_pool(2, tenants_per_connection=1))
    opened: list[Any] = []
    event.listen(many.engine, "connect", lambda connection, _: opened.append(connection))

    for tenant in (acme, globex) * 3:
        assert tenant.get("/settings").status_code == 200

    assert len(opened) == 2


def test_the_connection_that_was_idle_longest_makes_room(world: Factory, make_pool: Pool) -> None:
    many = make_pool(2, tenants_per_connection=1)
    first, second, third = (world.tenant(f"Number {index}") for index in range(3))

    known, other = visit(first, many), visit(second, many)
    assert visit(first, many) == known
    new = visit(third, many)

    assert new not in (known, other)
    assert visit(first, many) == known
    assert visit(third, many) == new
    assert many.engine.pool.checkedin() == 2  # type: ignore[attr-defined]


def test_one_who_knows_nobody_yet_waits_for_the_connection_in_use(
    world: Factory, make_pool: Pool
) -> None:
    one = make_pool(1, tenants_per_connection=1)
    first, second = world.tenant("First"), world.tenant("Second")
    with ThreadPoolExecutor(1) as threads, tenant_session(first.ref, database=one):
        waiting_for = threads.submit(visit, second, one)
        with pytest.raises(TimeoutError):
            waiting_for.result(0.1)
    assert waiting_for.result(10) != visit(first, one)


def test_failed_entrances_count_too_and_never_wear_the_pool_out(
    acme: Tenant, make_pool: Pool
) -> None:
    one = db.set_current_database(make_pool(1))

    for _ in range(20):
        with pytest.raises(IsolationError), tenant_session(TenantRef(uuid4())):
            pytest.fail("entered")

    with tenant_session(acme.ref) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]
    assert one.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_budget_that_was_spent_elsewhere_is_not_held_against_the_database(
    acme: Tenant, make_pool: Pool
) -> None:
    """A machine too busy for one request must not open the breaker for all of them."""
    one = make_pool(1)

    with deadline.within(0), tenant_session(acme.ref, database=one) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]
    with deadline.within(0), pytest.raises(DatabaseUnavailable):  # noqa: SIM117
        with tenant_session(acme.ref, database=one) as session:
            session.execute(text("SELECT pg_sleep(5)"))

    with tenant_session(acme.ref, database=one) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]


def test_a_server_that_is_silent_for_longer_than_it_ever_needs_opens_the_breaker(
    acme: Tenant, make_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "_SERVER_TIMEOUT_S", timeouts.MIN_WAIT_S)
    one = make_pool(1)

    with deadline.within(0), pytest.raises(DatabaseUnavailable):  # noqa: SIM117
        with tenant_session(acme.ref, database=one) as session:
            session.execute(text("SELECT pg_sleep(5)"))

    with pytest.raises(DatabaseUnavailable) as refused, tenant_session(acme.ref, database=one):
        pytest.fail("entered")
    assert refused.value.__cause__ is None  # the breaker's own


def test_one_who_sees_neither_lets_the_next_find_out_soon(acme: Tenant, make_pool: Pool) -> None:
    """A refusal of ours, of whoever was let through to see, says nothing about the server."""
    one = make_pool(1)
    one.breaker = Breaker(pause_s=0.05)
    one.breaker.failed()
    time.sleep(0.06)

    with pytest.raises(KeyError), one.connection():
        raise KeyError("of ours")
    time.sleep(0.06)

    with tenant_session(acme.ref, database=one) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]
