"""Tests of the start and the end of a session: BEGIN and COMMIT travel with its statements."""

import socket
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session

from tests.integration.tenancy.session_state import (
    DEFAULT_PATH,
    SET_NOTE,
    MakePool,
    defer_note,
    note_of,
    search_path_and_tenant,
)
from tests.support.factories import Tenant
from tests.support.services import app_services, open_database
from tests.support.tcp_proxy import TcpProxy
from vca.kit import db
from vca.settings import Settings as ProductSettings
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import (
    IsolationError,
    open_tenant,
    owner_session,
    public_connection,
    public_session,
    tenant_session,
)


class RecordingProxy(TcpProxy):
    """Keeps the SQL strings that clients send; each of them is one round trip."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.strings: list[str] = []

    @property
    def url(self) -> str:
        return f"{super().url}?sslmode=disable&gssencmode=disable"

    def _forward(self, connection: socket.socket) -> None:
        if connection is not self._listener and connection in self._pairs:
            data = connection.recv(65_536, socket.MSG_PEEK)
            if data[:1] == b"Q":
                self.strings.append(data[5:-1].decode())
        super()._forward(connection)


@pytest.fixture
def proxy(acme: Tenant, settings: ProductSettings) -> Iterator[RecordingProxy]:
    with RecordingProxy(settings.database_dsn) as proxy:
        yield proxy


@pytest.fixture
def database(proxy: RecordingProxy, acme: Tenant) -> Iterator[TenantDatabase]:
    """Return a pool with one connection, which is open and has set its settings."""
    database = open_database(proxy.url, pool_size=1)
    with tenant_session(acme.ref, database=database) as session:
        session.execute(text("SELECT 1"))
    proxy.strings.clear()
    yield database
    database.close()


def open_cursor(session: Session) -> Any:
    """Return a cursor of the driver in the session's transaction."""
    return session.connection().connection.cursor()


# --- Round trips ---


def _execute(session: Session) -> None:
    session.execute(text("SELECT 1"))


def _execute_bytes(session: Session) -> None:
    with open_cursor(session) as cursor:
        cursor.execute(b"SELECT 1")


def _execute_many(session: Session) -> None:
    with open_cursor(session) as cursor:
        cursor.executemany("SELECT %s", [[1]])


def _savepoint(session: Session) -> None:
    session.connection().begin_nested()


def _only_deferred(session: Session) -> None:
    defer_note(session, "hello")


@pytest.mark.parametrize(
    ("run", "round_trips"),
    [
        (_execute, 2),
        (_execute_bytes, 2),
        (_execute_many, 3),
        (_savepoint, 2),
        (_only_deferred, 1),
        (lambda _: None, 1),
    ],
    ids=["execute", "bytes", "executemany", "savepoint", "deferred", "nothing"],
)
def test_begin_and_the_identity_check_take_no_round_trip_of_their_own(
    run: Callable[[Session], object],
    round_trips: int,
    acme: Tenant,
    database: TenantDatabase,
    proxy: RecordingProxy,
) -> None:
    with tenant_session(acme.ref, database=database) as session:
        run(session)

    assert len(proxy.strings) == round_trips, proxy.strings
    assert proxy.strings[0].startswith("BEGIN; ")
    assert f"'{acme.id}'::tenant_identity; " in proxy.strings[0]
    assert proxy.strings[-1].endswith("COMMIT")


@pytest.mark.parametrize("run", [_execute, _execute_bytes, _execute_many, _savepoint])
def test_every_kind_of_first_statement_is_inside_the_tenant(
    run: Callable[[Session], object], acme: Tenant, make_pool: MakePool
) -> None:
    with tenant_session(acme.ref, database=make_pool(1)) as session:
        run(session)
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)


@pytest.mark.parametrize("run", [_execute, _execute_bytes, _execute_many, _savepoint])
def test_every_kind_of_first_statement_fails_in_a_missing_schema(
    run: Callable[[Session], object], acme: Tenant, make_pool: MakePool
) -> None:
    missing = TenantRef(uuid4())

    with pytest.raises(IsolationError), tenant_session(missing, database=make_pool(1)) as session:
        run(session)


def test_a_rollback_before_the_first_statement_sends_nothing(
    acme: Tenant, database: TenantDatabase, proxy: RecordingProxy
) -> None:
    with pytest.raises(KeyError), tenant_session(acme.ref, database=database):
        raise KeyError

    assert proxy.strings == []


def test_percent_signs_are_sent_as_they_are(acme: Tenant, make_pool: MakePool) -> None:
    with make_pool(1).connection() as connection:
        for statement, parameters, value in (
            ("SELECT '100%%', %(note)s", {"note": "5% %s %(x)s"}, ("100%", "5% %s %(x)s")),
            ("SELECT '100%', '%s'", None, ("100%", "%s")),
        ):
            db.set_begin_sql(connection, "BEGIN; SET LOCAL vca.note = '7% %s'; SELECT '%(y)s'")
            with Session(connection) as session, open_cursor(session) as cursor:
                cursor.execute(statement, parameters)
                assert cursor.fetchall() == [value]
                cursor.execute("SELECT current_setting('vca.note')")
                assert cursor.fetchall() == [("7% %s",)]
            connection.rollback()


# --- Errors of the first statement ---


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x'::uuid", "22P02"),
        ("SELECT FROM missing", "42P01"),
        ("SELECT 1::missing", "42704"),
        ("DROP TABLE settings", "42501"),
        ("SELEC", "42601"),
    ],
)
def test_an_error_of_the_first_statement_itself_is_raised_as_such(
    statement: str, state: str, acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    database = make_pool(1)

    with (
        pytest.raises((DBAPIError, psycopg2.Error)) as error,
        tenant_session(acme.ref, database=database) as session,
    ):
        session.execute(text(statement))

    assert db.sqlstate(error.value) == state
    with tenant_session(globex.ref, database=database) as session:
        assert search_path_and_tenant(session) == (globex.ref.schema, globex.id)


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [("SELECT %(x)s", {"x": object()}), ("SELECT %(x)s", {"x": "\x00"}), ("SELEC", {})],
    ids=["unknown type", "NUL", "syntax"],
)
def test_a_first_statement_that_was_not_executed_does_not_move_the_next_out_of_the_tenant(
    statement: str, parameters: dict[str, object], acme: Tenant, make_pool: MakePool
) -> None:
    with tenant_session(acme.ref, database=make_pool(1)) as session:
        with pytest.raises((StatementError, ValueError)):
            session.connection().exec_driver_sql(statement, parameters)
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)
        session.connection().exec_driver_sql(SET_NOTE, {"note": "lost"})
        session.rollback()

    assert note_of(acme) is None


def test_an_empty_session_checks_the_identity_when_it_commits(acme: Tenant) -> None:
    with (
        pytest.raises(IsolationError),
        tenant_session(TenantRef(uuid4()), database=app_services().database),
    ):
        pass


def test_a_savepoint_can_be_the_first_statement(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("SELECT 1 / 0"))
        session.connection().exec_driver_sql(SET_NOTE, {"note": "after"})

    assert note_of(acme) == "after"


def test_an_owner_session_sends_its_begin_with_the_first_statement(
    acme: Tenant, owner_database: TenantDatabase
) -> None:
    with owner_session(acme.ref, database=owner_database) as session:
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)


# --- The connection afterwards ---


def test_two_tenants_alternate_on_one_connection(
    acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    database = make_pool(1)

    for number in range(20):
        for tenant in (acme, globex):
            with tenant_session(tenant.ref, database=database) as session:
                if number % 3:
                    assert search_path_and_tenant(session) == (tenant.ref.schema, tenant.id)
                defer_note(session, f"{tenant.id} {number}")

    assert [note_of(acme), note_of(globex)] == [f"{acme.id} 19", f"{globex.id} 19"]


def test_a_session_without_statements_leaves_no_begin_for_the_next_user(
    acme: Tenant, make_pool: MakePool
) -> None:
    database = make_pool(1)
    for is_public in (True, False):
        with (
            public_session(database=database)
            if is_public
            else tenant_session(acme.ref, database=database)
        ):
            pass
        with database.connection() as connection:
            connection.exec_driver_sql("SELECT set_config('vca.note', 'kept', false)")
        with database.connection() as connection:
            assert search_path_and_tenant(connection) == (DEFAULT_PATH, "")
            note = connection.exec_driver_sql("SELECT current_setting('vca.note')").scalar_one()
            assert note == "kept"
            connection.exec_driver_sql("RESET vca.note")


def test_a_session_is_refused_inside_a_transaction(acme: Tenant, make_pool: MakePool) -> None:
    with (
        make_pool(1).connection() as connection,
        open_tenant(connection, acme.ref, database=app_services().database) as session,
    ):
        session.execute(text("SELECT 1"))
        with (
            pytest.raises(IsolationError),
            open_tenant(connection, acme.ref, database=app_services().database),
        ):
            pass


def test_an_autocommitted_read_is_outside_every_tenant(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database):
        pass
    with public_connection(database=app_services().database) as connection:
        assert search_path_and_tenant(connection) == (DEFAULT_PATH, "")
