"""Statements that each connection prepares once, but not behind a transaction pooler."""

from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import Connection, text

from tests.integration.tenancy.session_state import MakePool
from tests.support.factories import Factory, Tenant
from tests.support.pooler import PGBOUNCER, run_pgbouncer
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services, open_database
from vca.kit import db
from vca.registry.number_registry import service as number_registry
from vca.settings import Settings
from vca.tenancy.database import TenantDatabase

_STATEMENT = "SELECT status, '5%%' FROM public.tenants WHERE id = %(id)s AND id = %(id)s"
_PREPARED = text("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time")


@pytest.fixture
def database(make_pool: MakePool) -> TenantDatabase:
    return make_pool(1)


def read_status(connection: Connection, tenant_id: str) -> Any:
    return db.fetch_one_prepared(connection, _STATEMENT, {"id": tenant_id})


def prepared_statements(connection: Connection) -> list[str]:
    return list(connection.execute(_PREPARED).scalars())


def test_a_connection_prepares_a_statement_once(
    acme: Tenant, globex: Tenant, database: TenantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connection() as connection:
        results = [read_status(connection, tenant.id) for tenant in (acme, globex)]
        with record_sent_sql(monkeypatch) as round_trips:
            results.append(read_status(connection, str(UUID(int=0))))

        assert results == [("active", "5%"), ("active", "5%"), None]
        assert len(round_trips) == 1
        [statement] = prepared_statements(connection)
        assert statement.endswith("WHERE id = $1 AND id = $1")


def test_a_value_is_never_part_of_the_statement(acme: Tenant, database: TenantDatabase) -> None:
    with database.connection() as connection:
        for value in ("'); DROP TABLE public.tenants; --", "\\'", "%(id)s", "$1"):
            row = db.fetch_one_prepared(connection, "SELECT %(value)s::text", {"value": value})
            assert row == (value,)
        assert read_status(connection, acme.id) == ("active", "5%")


def test_a_failed_execution_leaves_the_statement_usable(
    acme: Tenant, database: TenantDatabase
) -> None:
    with database.connection() as connection:
        with pytest.raises(psycopg2.DataError):
            read_status(connection, "no uuid")
        assert read_status(connection, acme.id) == ("active", "5%")


@pytest.mark.parametrize("cleanup", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_a_statement_that_the_server_does_not_know_any_more_is_executed_all_the_same(
    acme: Tenant, database: TenantDatabase, cleanup: str
) -> None:
    with database.connection() as connection:
        for _ in range(2):
            assert read_status(connection, acme.id) == ("active", "5%")
            connection.execute(text(cleanup))
            assert read_status(connection, acme.id) == ("active", "5%")


def test_a_statement_that_the_server_knows_already_is_used(
    acme: Tenant, database: TenantDatabase
) -> None:
    with database.connection() as connection:
        assert read_status(connection, acme.id) == ("active", "5%")
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.prepared_names.clear()
        assert read_status(connection, acme.id) == ("active", "5%")


def test_a_connection_that_replaces_a_lost_one_prepares_again(
    acme: Tenant, database: TenantDatabase
) -> None:
    with database.connection() as connection:
        assert read_status(connection, acme.id) == ("active", "5%")
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with app_services().database.connection() as other_connection:
            other_connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        assert read_status(connection, acme.id) == ("active", "5%")
        assert len(prepared_statements(connection)) == 1


@pytest.mark.skipif(
    PGBOUNCER is None,
    reason="pgbouncer is not installed (Debian and Ubuntu: apt install pgbouncer)",
)
def test_nothing_is_prepared_behind_a_transaction_pooler(
    acme: Tenant, settings: Settings, tmp_path: Path
) -> None:
    with run_pgbouncer(settings.database_dsn, tmp_path) as pooler:
        database = open_database(pooler.url, pool_size=1)
        with database.connection() as connection:
            assert read_status(connection, acme.id) == ("active", "5%")
            assert prepared_statements(connection) == []
        database.close()


def test_the_look_up_of_a_called_number_is_prepared(
    acme: Tenant, database: TenantDatabase, world: Factory
) -> None:
    with database.connection() as connection:
        assert number_registry.find_owner(connection, number="+14155550199") is None
        [statement] = prepared_statements(connection)
    assert "public.dids" in statement
