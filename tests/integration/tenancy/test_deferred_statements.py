"""Statements that are sent with the next one: when they run, and what a failure leaves."""

import psycopg2
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.integration.tenancy.session_state import (
    SET_NOTE,
    MakePool,
    defer_note,
    note_of,
    read_note,
    search_path_and_tenant,
)
from tests.support.factories import Tenant
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services
from vca.kit import db
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import tenant_session
from vca.tenant.settings.models import Settings

_ADD_TO_NOTE = (
    "UPDATE settings SET variables ="
    " jsonb_build_object('note', concat(variables->>'note', %(note)s::text))"
)


@pytest.fixture
def database(make_pool: MakePool, acme: Tenant) -> TenantDatabase:
    """Return a pool with one connection, which is open."""
    database = make_pool(1)
    with tenant_session(acme.ref, database=database) as session:
        session.execute(text("SELECT 1"))
    return database


def test_a_deferred_statement_is_sent_with_the_commit_at_the_latest(
    acme: Tenant, database: TenantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        record_sent_sql(monkeypatch) as round_trips,
        tenant_session(acme.ref, database=database) as session,
    ):
        session.execute(select(Settings.id))
        defer_note(session, "50% of %s")
        assert len(round_trips) == 1

    assert len(round_trips) == 2
    assert note_of(acme) == "50% of %s"


def test_a_deferred_statement_is_executed_before_the_next_one_in_its_round_trip(
    acme: Tenant, database: TenantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        record_sent_sql(monkeypatch) as round_trips,
        tenant_session(acme.ref, database=database) as session,
    ):
        defer_note(session, "50% of %s")
        assert read_note(session) == "50% of %s"
        assert len(round_trips) == 1
        defer_note(session, "60% of %s")
        assert read_note(session) == "60% of %s"

    assert len(round_trips) == 3
    assert note_of(acme) == "60% of %s"


def test_deferred_statements_are_executed_in_their_order(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        for note in "abc":
            defer_note(session, note, _ADD_TO_NOTE)

    assert note_of(acme) == "abc"


@pytest.mark.parametrize(
    ("rolled_back", "note"), [("outer", "ae"), ("inner", "abde"), ("neither", "abcde")]
)
def test_a_deferred_statement_is_rolled_back_with_its_savepoint(
    acme: Tenant, rolled_back: str, note: str
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        defer_note(session, "a", _ADD_TO_NOTE)
        with session.begin_nested() as outer:
            defer_note(session, "b", _ADD_TO_NOTE)
            with session.begin_nested() as inner:
                defer_note(session, "c", _ADD_TO_NOTE)
                if rolled_back == "inner":
                    inner.rollback()
            defer_note(session, "d", _ADD_TO_NOTE)
            if rolled_back == "outer":
                outer.rollback()
        defer_note(session, "e", _ADD_TO_NOTE)

    assert note_of(acme) == note


def test_a_savepoint_is_rolled_back_after_an_error_although_a_statement_was_deferred(
    acme: Tenant,
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        defer_note(session, "a")
        savepoint = session.begin_nested()
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        defer_note(session, "b")
        savepoint.rollback()
        defer_note(session, "c", _ADD_TO_NOTE)

    assert note_of(acme) == "ac"


@pytest.mark.parametrize("has_statement", [True, False])
def test_if_a_deferred_statement_fails_the_commit_raises_and_nothing_is_committed(
    has_statement: bool, acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    database = make_pool(1)

    def change_notes() -> None:
        with tenant_session(acme.ref, database=database) as session:
            if has_statement:
                session.connection().exec_driver_sql(SET_NOTE, {"note": "a"})
            defer_note(session, "b")
            defer_note(session, "x", "SELECT %(note)s::uuid")
            defer_note(session, "c")

    with pytest.raises((DBAPIError, psycopg2.Error)) as error:
        change_notes()

    assert db.sqlstate(error.value) == "22P02"
    with tenant_session(globex.ref, database=database) as session:
        assert search_path_and_tenant(session) == (globex.ref.schema, globex.id)
    assert (note_of(acme), note_of(globex)) == (None, None)


@pytest.mark.parametrize("first_statement", [None, "SELECT 1", "SELECT 1 / 0", "SELEC"])
def test_a_deferred_statement_of_a_failed_session_does_not_reach_the_next_tenant(
    first_statement: str | None, acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    database = make_pool(1)

    def fail() -> None:
        with tenant_session(acme.ref, database=database) as session:
            defer_note(session, "acme's note")
            if first_statement is not None:
                session.execute(text(first_statement))
            raise KeyError

    with pytest.raises((KeyError, DBAPIError)):
        fail()
    with tenant_session(globex.ref, database=database) as session:
        session.execute(select(Settings.id))

    assert (note_of(acme), note_of(globex)) == (None, None)
