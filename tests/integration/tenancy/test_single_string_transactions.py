"""Transactions that are sent as one string: each runs in its tenant, as a whole or not at all."""

from uuid import uuid4

import psycopg2
import pytest

from tests.integration.tenancy.session_state import MakePool, search_path_and_tenant
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services
from vca.kit import db
from vca.kit.db.dialect import SESSION_SETTINGS_KEY
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, TenantReader, run_in_tenant, tenant_session

_STATE = """
SELECT current_setting('search_path'), current_setting('vca.tenant_id'), current_user::text
"""
_SET_NOTE = "UPDATE settings SET notification_email = %(note)s RETURNING notification_email"


@pytest.fixture
def database(make_pool: MakePool) -> TenantDatabase:
    return make_pool(1)


def note_of(tenant: Tenant) -> str | None:
    note: str | None
    [(note,)] = run_in_tenant(
        tenant.ref, "SELECT notification_email FROM settings", {}, database=app_services().database
    )
    return note


def test_it_runs_in_the_schema_and_with_the_role_of_its_tenant(
    acme: Tenant, globex: Tenant, database: TenantDatabase
) -> None:
    for tenant in (acme, globex, acme):
        [(path, tenant_id, role)] = run_in_tenant(tenant.ref, _STATE, {}, database=database)
        assert (path, tenant_id) == (tenant.ref.schema, tenant.id)
        assert role.endswith(tenant.ref.schema)


def test_a_reader_runs_each_statement_in_its_tenant_and_in_one_round_trip(
    acme: Tenant, globex: Tenant, database: TenantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connection() as connection:
        readers = [
            TenantReader(connection, tenant.ref, database.roles) for tenant in (acme, globex)
        ]
        with record_sent_sql(monkeypatch) as round_trips:
            rows = [reader.fetch_rows(_STATE, {})[0] for reader in (*readers, readers[0])]
        path, tenant_id = search_path_and_tenant(connection)

    assert [tenant_id for _, tenant_id, _ in rows] == [acme.id, globex.id, acme.id]
    assert all(role.endswith(schema) for schema, _, role in rows)
    assert len(round_trips) == 3
    assert (tenant_id, acme.ref.schema in path) == ("", False)


def test_nothing_of_it_outlives_it(acme: Tenant, globex: Tenant, database: TenantDatabase) -> None:
    run_in_tenant(acme.ref, _STATE, {}, database=database)

    with database.connection() as connection:
        path, tenant_id = search_path_and_tenant(connection)
    assert acme.ref.schema not in path
    assert tenant_id == ""
    with tenant_session(globex.ref, database=database) as session:
        assert search_path_and_tenant(session) == (globex.ref.schema, globex.id)


def test_it_returns_the_rows_of_the_last_statement_in_one_round_trip(
    acme: Tenant, database: TenantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in_tenant(acme.ref, _STATE, {}, database=database)  # opens the connection
    with record_sent_sql(monkeypatch) as round_trips:
        rows = run_in_tenant(
            acme.ref, f"{_SET_NOTE}; SELECT %(note)s || '%%'", {"note": "5%"}, database=database
        )

    assert rows == [("5%%",)]
    assert len(round_trips) == 1
    assert note_of(acme) == "5%"


@pytest.mark.parametrize("failing", ["SELECT 1 / 0", "SELECT 'x'::uuid", "SELEC", "SELECT x"])
def test_an_error_is_raised_as_it_is_and_nothing_is_stored(
    acme: Tenant, database: TenantDatabase, failing: str
) -> None:
    with pytest.raises(psycopg2.Error):
        run_in_tenant(acme.ref, f"{_SET_NOTE}; {failing}", {"note": "a"}, database=database)

    assert note_of(acme) is None
    assert run_in_tenant(acme.ref, "SELECT 1", {}, database=database) == [(1,)]


def test_another_tenants_tables_are_refused(acme: Tenant, globex: Tenant) -> None:
    with pytest.raises(psycopg2.Error) as error:
        run_in_tenant(
            acme.ref,
            f'SELECT id FROM "{globex.ref.schema}".settings',
            {},
            database=app_services().database,
        )

    assert error.value.pgcode == "42501"


def test_a_missing_schema_is_an_isolation_error(database: TenantDatabase, acme: Tenant) -> None:
    with pytest.raises(IsolationError):
        run_in_tenant(TenantRef(uuid4()), "SELECT 1", {}, database=database)

    assert run_in_tenant(acme.ref, "SELECT 1", {}, database=database) == [(1,)]


@pytest.mark.usefixtures("swapped_schemas")
def test_a_schema_of_another_tenant_is_an_isolation_error_and_nothing_is_executed(
    acme: Tenant, database: TenantDatabase, db_snapshot: SnapshotChecker
) -> None:
    with pytest.raises(IsolationError):
        run_in_tenant(acme.ref, _SET_NOTE, {"note": "a"}, database=database)

    query = f'SELECT notification_email FROM "{acme.ref.schema}".settings'
    assert db_snapshot.rows(query) == [(None,)]


def test_the_settings_that_a_pooler_drops_are_set(acme: Tenant, database: TenantDatabase) -> None:
    with database.connection() as connection:
        connection.connection.info[SESSION_SETTINGS_KEY] = "SET LOCAL statement_timeout = '1234ms'"

    query = "SELECT current_setting('statement_timeout')"
    assert run_in_tenant(acme.ref, query, {}, database=database) == [("1234ms",)]
    with database.connection() as connection:
        assert db.fetch_one(connection, query, {}) == ("3s",)
