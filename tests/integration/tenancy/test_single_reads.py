"""Reads that the server executes as transactions of their own, in one round trip."""

from contextlib import suppress

import psycopg2
import pytest
from sqlalchemy import text

from tests.integration.tenancy.session_state import MakePool, search_path_and_tenant
from tests.support.factories import Tenant
from tests.support.sent_sql import record_sent_sql
from vca.kit import db
from vca.kit.db import Database
from vca.tenancy.session import IsolationError, public_session, tenant_session
from vca.tenant.settings.models import Settings

_STATE = """
SELECT current_setting('search_path'), current_setting('vca.tenant_id'), current_user::text,
    '%%', %(value)s
"""
_READ_OWNER = "SELECT tenant_id FROM settings"


@pytest.fixture
def database(make_pool: MakePool, acme: Tenant) -> Database:
    """Return a pool with one connection, which is open."""
    database = make_pool(1)
    with tenant_session(acme.ref, database=database) as session:
        session.execute(text("SELECT 1"))
    return database


def test_a_transaction_that_is_one_read_takes_one_round_trip_in_its_tenant(
    acme: Tenant, globex: Tenant, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in (acme, globex, acme):
        with (
            record_sent_sql(monkeypatch) as round_trips,
            tenant_session(tenant.ref, database=database) as session,
        ):
            [row] = db.fetch_read(session.connection(), _STATE, {"value": "5%"})

        path, tenant_id, role, *texts = row
        assert (path, tenant_id, texts) == (tenant.ref.schema, tenant.id, ["%", "5%"])
        assert role.endswith(tenant.ref.schema)
        assert len(round_trips) == 1


def test_nothing_of_a_read_outlives_it(acme: Tenant, database: Database) -> None:
    with tenant_session(acme.ref, database=database) as session:
        db.fetch_read(session.connection(), _READ_OWNER, {})

    with database.connection() as connection:
        path, tenant_id = search_path_and_tenant(connection)
    assert acme.ref.schema not in path
    assert tenant_id == ""


def test_a_read_without_a_tenant_takes_one_round_trip(
    acme: Tenant, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        record_sent_sql(monkeypatch) as round_trips,
        public_session(database=database) as session,
    ):
        parameters = {"id": acme.id}
        rows = db.fetch_read(
            session.connection(), "SELECT status FROM public.tenants WHERE id = %(id)s", parameters
        )

    assert (rows, len(round_trips)) == ([("active",)], 1)


def test_statements_after_a_read_run_in_the_tenant_and_are_committed_together(
    acme: Tenant, globex: Tenant, database: Database
) -> None:
    with suppress(ZeroDivisionError), tenant_session(acme.ref, database=database) as session:
        db.fetch_read(session.connection(), _READ_OWNER, {})
        session.execute(text("UPDATE settings SET notification_email = 'rolled@back.example'"))
        raise ZeroDivisionError
    with tenant_session(acme.ref, database=database) as session:
        db.fetch_read(session.connection(), _READ_OWNER, {})
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)
        assert session.query(Settings).one().notification_email is None
        session.execute(text("UPDATE settings SET notification_email = 'a@acme.example'"))
        rows = db.fetch_read(
            session.connection(), "SELECT notification_email FROM settings", {}
        )  # inside the transaction now

    assert rows == [("a@acme.example",)]
    for tenant, expected in ((acme, "a@acme.example"), (globex, None)):
        with tenant_session(tenant.ref, database=database) as session:
            assert session.query(Settings).one().notification_email == expected


def test_a_deferred_statement_after_a_read_is_committed(acme: Tenant, database: Database) -> None:
    with tenant_session(acme.ref, database=database) as session:
        db.fetch_read(session.connection(), _READ_OWNER, {})
        statement = "UPDATE settings SET notification_email = 'b@acme.example'"
        db.defer_statement(session.connection(), statement, {})

    with tenant_session(acme.ref, database=database) as session:
        assert session.query(Settings).one().notification_email == "b@acme.example"


def test_a_read_in_a_schema_of_another_tenant_is_refused(
    acme: Tenant, globex: Tenant, swapped_schemas: None, make_pool: MakePool
) -> None:
    database = make_pool(1)
    for tenant in (acme, globex):
        with (
            pytest.raises(IsolationError),
            tenant_session(tenant.ref, database=database) as session,
        ):
            db.fetch_read(session.connection(), _READ_OWNER, {})


def test_another_tenants_tables_cannot_be_read(acme: Tenant, globex: Tenant) -> None:
    statement = f'SELECT tenant_id FROM "{globex.ref.schema}".settings'
    with (
        pytest.raises(psycopg2.errors.InsufficientPrivilege),
        tenant_session(acme.ref) as session,
    ):
        db.fetch_read(session.connection(), statement, {})


def test_after_a_read_that_failed_the_session_continues_in_its_tenant(
    acme: Tenant, database: Database
) -> None:
    with tenant_session(acme.ref, database=database) as session:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            db.fetch_read(session.connection(), "SELECT 1 / 0", {})
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)


def test_a_transaction_without_any_statement_still_checks_its_tenant(
    acme: Tenant, swapped_schemas: None, make_pool: MakePool
) -> None:
    database = make_pool(1)
    with (
        pytest.raises(IsolationError),
        tenant_session(acme.ref, database=database),
    ):
        pass
