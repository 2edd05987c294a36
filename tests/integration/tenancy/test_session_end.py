"""Tests of the end of a session: its settings, its rows and its connection."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.integration.tenancy.session_state import (
    DEFAULT_PATH,
    MakePool,
    backend_pid,
    new_profile,
    search_path_and_tenant,
    wait_for,
)
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.services import app_services, use_database
from vca.kit import db, deadline
from vca.kit.db import DatabaseFailure, DatabaseUnavailable
from vca.tenancy.session import tenant_session
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.settings.models import Settings


@dataclass
class Ending:
    """A way to end a tenant's transaction, and whether its connection is reused."""

    end: Callable[[Session, SnapshotChecker], object]
    reuses_connection: bool = True


def _raise_error(session: Session, db_snapshot: SnapshotChecker) -> None:
    raise KeyError("test")


def _cancel_statement(session: Session, db_snapshot: SnapshotChecker) -> None:
    with _call_during_sleep(session, db_snapshot, "pg_cancel_backend"):
        session.execute(text("SELECT pg_sleep(20)"))


def _kill_during_statement(session: Session, db_snapshot: SnapshotChecker) -> None:
    with _call_during_sleep(session, db_snapshot, "pg_terminate_backend"):
        session.execute(text("SELECT pg_sleep(20)"))


def _kill_between_statements(session: Session, db_snapshot: SnapshotChecker) -> None:
    db_snapshot.rows("SELECT pg_terminate_backend(%s)", backend_pid(session))
    session.execute(text("SELECT 1"))


def _exceed_deadline(session: Session, db_snapshot: SnapshotChecker) -> None:
    with deadline.within(0.05):
        session.execute(text("SELECT pg_sleep(20)"))


@contextmanager
def _call_during_sleep(
    session: Session, db_snapshot: SnapshotChecker, function: str
) -> Iterator[None]:
    pid = backend_pid(session)
    call_if_sleeping = (
        f"SELECT {function}(pid) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        " AND wait_event = 'PgSleep'"
    )
    thread = threading.Thread(
        target=lambda: wait_for(lambda: db_snapshot.rows(call_if_sleeping, pid))
    )
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _execute(sql: str) -> Callable[[Session, SnapshotChecker], object]:
    return lambda session, _: [
        session.execute(text(statement)) for statement in sql.split(";") if statement.strip()
    ]


ENDINGS = {
    "commit": Ending(_execute("SELECT 1")),
    "commit in the block": Ending(lambda session, _: session.commit()),
    "rollback in the block": Ending(lambda session, _: session.rollback()),
    "an exception of the application": Ending(_raise_error),
    "a bad statement": Ending(_execute("SELECT 1 / 0")),
    "a syntax error": Ending(_execute("SELEC")),
    "a rejected row": Ending(_execute(f"UPDATE settings SET tenant_id = '{uuid4()}'")),
    "a statement timeout": Ending(
        _execute("SET LOCAL statement_timeout = '20ms'; SELECT pg_sleep(20)")
    ),
    "a cancelled statement": Ending(_cancel_statement),
    "a killed backend": Ending(_kill_during_statement, reuses_connection=False),
    "a backend killed between statements": Ending(
        _kill_between_statements, reuses_connection=False
    ),
    "an expired deadline": Ending(_exceed_deadline, reuses_connection=False),
}


@pytest.mark.parametrize("ending_name", ENDINGS)
def test_search_path_and_tenant_are_reset_at_the_end_of_a_transaction(
    ending_name: str,
    acme: Tenant,
    globex: Tenant,
    make_pool: MakePool,
    db_snapshot: SnapshotChecker,
) -> None:
    ending, database = ENDINGS[ending_name], make_pool(1)
    pids = []

    try:
        with tenant_session(acme.ref, database=database) as session:
            pids.append(backend_pid(session))
            ending.end(session, db_snapshot)
    except (KeyError, DBAPIError, DatabaseFailure):
        assert not ending_name.startswith(("commit", "rollback"))

    def connection_is_clean() -> bool:
        try:
            with database.connection() as connection:
                pids.append(backend_pid(connection))
                assert search_path_and_tenant(connection) == (DEFAULT_PATH, "")
                with pytest.raises(DBAPIError):
                    connection.execute(select(PhoneNumber.id))
        except DatabaseUnavailable:  # the breaker is open
            return False
        return True

    wait_for(connection_is_clean)
    with tenant_session(globex.ref, database=database) as session:
        assert search_path_and_tenant(session) == (globex.ref.schema, globex.id)
    assert (pids[-1] == pids[0]) is ending.reuses_connection


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_session_finds_no_tenant_table_after_its_end(end: str, acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        getattr(session, end)()
        with pytest.raises(DBAPIError) as error:
            session.execute(select(Settings.id))

    assert db.sqlstate(error.value) == "42P01"


def test_a_failed_session_leaves_no_rows(
    acme: Tenant, db_snapshot: SnapshotChecker, make_pool: MakePool
) -> None:
    before = db_snapshot.checksum(acme.id)

    def write_and_end(ending_name: str) -> None:
        with tenant_session(acme.ref, database=make_pool(1)) as session:
            session.execute(text("UPDATE settings SET time_zone = 'Asia/Tokyo'"))
            session.add(new_profile())
            session.flush()
            ENDINGS[ending_name].end(session, db_snapshot)

    for ending_name in (
        "an exception of the application",
        "a cancelled statement",
        "a killed backend",
    ):
        with pytest.raises((KeyError, DatabaseFailure)):
            write_and_end(ending_name)

    assert db_snapshot.checksum(acme.id) == before


def test_a_killed_backend_returns_503_and_the_next_request_succeeds(
    acme: Tenant, globex: Tenant, make_pool: MakePool, db_snapshot: SnapshotChecker
) -> None:
    profile = acme.profile(greeting="before")
    before = db_snapshot.checksum(acme.id)
    database = use_database(make_pool(1))
    killed_pids: list[int] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def kill_backend(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE ai_profiles") and not killed_pids:
            killed_pids.append(connection.connection.dbapi_connection.info.backend_pid)
            db_snapshot.rows("SELECT pg_terminate_backend(%s)", killed_pids[0])

    failed = acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "after"})

    assert (failed.status_code, failed.json["code"]) == (503, "database-unavailable")
    assert int(failed.headers["Retry-After"]) > 0
    assert killed_pids
    assert db_snapshot.checksum(acme.id) == before
    globex_response = wait_for(
        lambda: response if (response := globex.get("/ai-profiles")).status_code == 200 else None
    )
    assert globex_response is not None
    assert globex_response.json == []
    repeated = acme.patch(f"/ai-profiles/{profile['id']}", {"greeting": "after"})
    assert (repeated.status_code, repeated.json["version"]) == (200, 2)
