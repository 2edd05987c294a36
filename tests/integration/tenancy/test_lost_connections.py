"""A connection that was lost while it was idle is replaced before anything is sent on it."""

from collections.abc import Callable, Iterator

import psycopg2
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from tests.integration.tenancy.session_state import (
    MakePool,
    backend_pid,
    defer_note,
    note_of,
    search_path_and_tenant,
    wait_for,
)
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services, open_database, use_database
from tests.support.tcp_proxy import TcpProxy
from vca.kit import db
from vca.kit.db import DatabaseUnavailable
from vca.settings import Settings
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import open_tenant, run_in_tenant, tenant_session

Terminate = Callable[[int], None]
_PID = "SELECT pg_backend_pid()"
_COUNT = "SELECT nextval('public.executions')"
_COUNT_AND_DIE = f"{_COUNT}, public.end_own_process(), pg_sleep(5)"


@pytest.fixture
def terminate(db_snapshot: SnapshotChecker) -> Terminate:
    """Return a function that ends a server process and waits until it is gone."""

    def end(pid: int) -> None:
        db_snapshot.rows("SELECT pg_terminate_backend(%s, 5000)", pid)

    return end


@pytest.fixture
def execution_count(db_snapshot: SnapshotChecker) -> Iterator[Callable[[], int]]:
    """Create a sequence that counts executions, and return a function that reads it."""
    db_snapshot.rows("CREATE SEQUENCE public.executions")
    db_snapshot.rows("GRANT USAGE ON SEQUENCE public.executions TO public")
    db_snapshot.rows(
        "CREATE FUNCTION public.end_own_process() RETURNS boolean SECURITY DEFINER LANGUAGE sql"
        " AS 'SELECT pg_terminate_backend(pg_backend_pid())'"
    )

    def count() -> int:
        [(value, is_called)] = db_snapshot.rows(
            "SELECT last_value, is_called FROM public.executions"
        )
        return int(value) if is_called else 0

    yield count
    db_snapshot.rows("DROP FUNCTION public.end_own_process()")
    db_snapshot.rows("DROP SEQUENCE public.executions")


def _fetch_pid(connection: Connection) -> int:
    row = db.fetch_one(connection, _PID, {})
    assert row is not None
    return int(row[0])


def _run_statement(connection: Connection, tenant: Tenant) -> tuple[int, str]:
    with open_tenant(connection, tenant.ref, database=app_services().database) as session:
        return backend_pid(session), search_path_and_tenant(session)[0]


FIRST_STATEMENTS: dict[str, Callable[[Connection, Tenant], int]] = {
    "fetch_one": lambda connection, _: _fetch_pid(connection),
    "fetch_rows": lambda connection, _: int(db.fetch_rows(connection, _PID, {})[0][0]),
    "execute": lambda connection, _: backend_pid(connection),
    "tenant session": lambda connection, tenant: _run_statement(connection, tenant)[0],
    "run_transaction": lambda connection, _: int(
        db.run_transaction(connection, "BEGIN; SET LOCAL search_path TO public", _PID, {})[0][0]
    ),
}


@pytest.mark.parametrize("first_statement", FIRST_STATEMENTS)
def test_the_first_statement_uses_a_new_connection(
    first_statement: str, acme: Tenant, make_pool: MakePool, terminate: Terminate
) -> None:
    database = make_pool(1)

    with database.connection() as connection:
        lost_pid = _fetch_pid(connection)
        terminate(lost_pid)
        pid = FIRST_STATEMENTS[first_statement](connection, acme)
        assert _fetch_pid(connection) == pid != lost_pid

    with database.connection() as connection:
        assert _fetch_pid(connection) == pid


def test_an_idle_connection_of_the_pool_is_replaced_when_it_is_checked_out(
    acme: Tenant, globex: Tenant, make_pool: MakePool, terminate: Terminate
) -> None:
    database = use_database(make_pool(1))
    with database.connection() as connection:
        lost_pid = _fetch_pid(connection)

    terminate(lost_pid)
    assert acme.get("/settings").status_code == 200
    with database.connection() as connection:
        terminate(_fetch_pid(connection))
    assert run_in_tenant(globex.ref, "SELECT 1", {}, database=database) == [(1,)]


def test_a_transaction_whose_start_was_not_sent_continues_in_its_tenant(
    acme: Tenant, globex: Tenant, make_pool: MakePool, terminate: Terminate
) -> None:
    database = make_pool(1)

    with database.connection() as connection:
        lost_pid = _fetch_pid(connection)
        with open_tenant(connection, acme.ref, database=app_services().database) as session:
            defer_note(session, "deferred")
            terminate(lost_pid)
            assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)
            assert backend_pid(session) != lost_pid
            session.commit()
        assert db.first_statement_failed(connection) is False

    assert (note_of(acme), note_of(globex)) == ("deferred", None)


def test_a_commit_that_sends_the_whole_transaction_uses_a_new_connection(
    acme: Tenant, make_pool: MakePool, terminate: Terminate
) -> None:
    database = make_pool(1)

    with database.connection() as connection:
        lost_pid = _fetch_pid(connection)
        with open_tenant(connection, acme.ref, database=app_services().database) as session:
            defer_note(session, "deferred")
            terminate(lost_pid)
            session.commit()

    assert note_of(acme) == "deferred"


def test_a_replaced_connection_has_its_tenant_in_its_catalogue_cache(
    world: Factory, make_pool: MakePool, terminate: Terminate
) -> None:
    database = make_pool(1, tenants_per_connection=2)
    first, second = world.tenant("First"), world.tenant("Second")
    with tenant_session(first.ref, database=database) as session:
        lost_pid = backend_pid(session)

    with (
        database.connection() as connection,
        open_tenant(connection, first.ref, database=app_services().database) as session,
    ):
        terminate(lost_pid)
        pid = backend_pid(session)
    later_pids = []
    for _ in range(2):
        with tenant_session(second.ref, database=database) as session:
            later_pids.append(backend_pid(session))

    assert lost_pid != pid == later_pids[0] != later_pids[1]


def test_older_idle_connections_are_discarded_with_a_lost_one(
    make_pool: MakePool, terminate: Terminate
) -> None:
    database = make_pool(3)
    with (
        database.connection() as first,
        database.connection() as second,
        database.connection() as third,
    ):
        old_pids = [_fetch_pid(connection) for connection in (first, second, third)]

    terminate(old_pids[0])
    new_pids = set()
    for _ in range(2):
        with (
            database.connection() as first,
            database.connection() as second,
            database.connection() as third,
        ):
            new_pids |= {_fetch_pid(connection) for connection in (first, second, third)}

    assert len(new_pids) == 3
    assert not new_pids & set(old_pids)


RUNNING_STATEMENTS: dict[str, Callable[[TenantDatabase, Tenant], object]] = {
    "first statement": lambda database, tenant: _execute_in_session(
        database, tenant, _COUNT_AND_DIE
    ),
    "fetch_one": lambda database, _: _fetch_on_connection(database, _COUNT_AND_DIE),
    "run_in_tenant": lambda database, tenant: run_in_tenant(
        tenant.ref, _COUNT_AND_DIE, {}, database=database
    ),
}


def _execute_in_session(database: TenantDatabase, tenant: Tenant, *statements: str) -> None:
    with tenant_session(tenant.ref, database=database) as session:
        for statement in statements:
            session.execute(text(statement))


def _fetch_on_connection(database: TenantDatabase, statement: str) -> None:
    with database.connection() as connection:
        db.fetch_one(connection, statement, {})


@pytest.mark.parametrize("kind", RUNNING_STATEMENTS)
def test_a_statement_whose_connection_is_lost_while_it_runs_is_not_repeated(
    kind: str, acme: Tenant, make_pool: MakePool, execution_count: Callable[[], int]
) -> None:
    with pytest.raises(DatabaseUnavailable):
        RUNNING_STATEMENTS[kind](make_pool(2), acme)

    assert execution_count() == 1


def test_a_statement_after_a_lost_one_is_not_executed_outside_the_transaction(
    acme: Tenant, make_pool: MakePool, execution_count: Callable[[], int]
) -> None:
    def continue_after_a_loss(session: Session) -> None:
        with pytest.raises(psycopg2.Error):
            db.fetch_rows(session.connection(), _COUNT_AND_DIE, {})
        db.fetch_rows(session.connection(), _COUNT, {})

    with pytest.raises(DatabaseUnavailable):  # noqa: SIM117
        with tenant_session(acme.ref, database=make_pool(1)) as session:
            continue_after_a_loss(session)

    assert execution_count() == 1


def test_a_connection_lost_inside_a_transaction_is_not_replaced(
    acme: Tenant, make_pool: MakePool, terminate: Terminate
) -> None:
    def lose_connection(session: Session) -> None:
        terminate(backend_pid(session))
        session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):  # noqa: SIM117
        with tenant_session(acme.ref, database=make_pool(1)) as session:
            lose_connection(session)


@pytest.mark.parametrize("first_statement", FIRST_STATEMENTS)
def test_if_no_new_connection_can_be_opened_the_pool_recovers_later(
    first_statement: str, settings: Settings, acme: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    with TcpProxy(settings.database_dsn) as server:
        database = open_database(server.url, pool_size=1)

        def lose_server(connection: Connection) -> None:
            _fetch_pid(connection)
            server.cut()
            FIRST_STATEMENTS[first_statement](connection, acme)

        def responds() -> bool:
            try:
                with database.connection() as connection:
                    return _fetch_pid(connection) > 0
            except DatabaseUnavailable:
                return False

        with pytest.raises(DatabaseUnavailable):  # noqa: SIM117
            with database.connection() as connection:
                lose_server(connection)
        server.restore()
        wait_for(responds)
        database.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_looking_for_a_lost_connection_costs_no_round_trip(
    acme: Tenant, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make_pool(1)
    _execute_in_session(database, acme, "SELECT 1")  # opens the connection

    with record_sent_sql(monkeypatch) as round_trips:
        _execute_in_session(database, acme, "SELECT 1")

    assert len(round_trips) == 2  # the statement with BEGIN, and COMMIT
