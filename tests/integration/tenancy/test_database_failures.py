"""Tests of how errors of the database are classified: outage, busy server or neither."""

import time
from collections.abc import Callable

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from tests.support.services import app_services, open_database
from vca.kit import db, postgres_errors
from vca.kit.circuit_breaker import CircuitOpen
from vca.kit.db import DatabaseBusy, DatabaseUnavailable
from vca.observability import log
from vca.tenancy.database import TenantDatabase
from vca.tenancy.session import public_session, tenant_session

MakePool = Callable[..., TenantDatabase]
OUTAGES = ("08000", "08003", "08006", "57P01", "57P02", "57P03", "53300")
BUSY_ERRORS = ("57014", "55P03", "25P03")
OTHER_ERRORS = (
    "55P04",  # unsafe use of a new enum value, as in an upgrade on PostgreSQL 16
    "53100",  # disk full
    "53200",  # out of memory
    "53400",  # configuration limit exceeded
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55006",  # object in use
    "57P04",  # database dropped
    "58030",  # input or output error
    "22012",  # division by zero
    "42P01",  # undefined table
    "XX000",  # internal error
)


def _raise_error(database: TenantDatabase, sqlstate: str) -> None:
    """Run a statement that fails with this SQLSTATE."""
    with public_session(database=database) as session:
        session.connection().exec_driver_sql(
            f"DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{sqlstate}'; END $$"
        )


def _execute(database: TenantDatabase, *steps: str | Callable[[], object]) -> None:
    """Execute statements and call functions in one transaction."""
    with public_session(database=database) as session:
        for step in steps:
            if isinstance(step, str):
                session.execute(text(step))
            else:
                step()


def _is_open(database: TenantDatabase) -> bool:
    """Return whether the circuit breaker rejects requests."""
    try:
        database.breaker.enter(lambda: True)
    except CircuitOpen:
        return True
    return False


@pytest.mark.parametrize("sqlstate", OUTAGES)
def test_an_outage_raises_database_unavailable_and_opens_the_breaker(
    sqlstate: str, make_pool: MakePool
) -> None:
    database = make_pool(1)

    with pytest.raises(DatabaseUnavailable):
        _raise_error(database, sqlstate)

    assert _is_open(database)


@pytest.mark.parametrize("sqlstate", BUSY_ERRORS)
def test_a_busy_server_raises_database_busy_and_does_not_open_the_breaker(
    sqlstate: str, make_pool: MakePool
) -> None:
    database = make_pool(1)

    with pytest.raises(DatabaseBusy) as error:
        _raise_error(database, sqlstate)

    assert (error.value.status, error.value.code) == (503, "database-busy")
    assert error.value.retry_after_s == 1
    assert not _is_open(database)


@pytest.mark.parametrize("sqlstate", OTHER_ERRORS)
def test_other_errors_are_not_translated(sqlstate: str, make_pool: MakePool) -> None:
    database = make_pool(1)

    with pytest.raises(DBAPIError) as error:
        _raise_error(database, sqlstate)

    assert db.sqlstate(error.value) == sqlstate
    assert postgres_errors.message(error.value) == "as if"
    assert not _is_open(database)


def test_a_statement_timeout_raises_database_busy(make_pool: MakePool) -> None:
    with pytest.raises(DatabaseBusy):
        _execute(make_pool(1), "SET LOCAL statement_timeout = '50ms'", "SELECT pg_sleep(2)")


def test_an_idle_transaction_timeout_raises_database_busy(
    make_pool: MakePool,
) -> None:
    database = make_pool(1)

    with pytest.raises(DatabaseBusy):
        _execute(
            database,
            "SET LOCAL idle_in_transaction_session_timeout = '50ms'",
            lambda: time.sleep(0.3),
            "SELECT 1",
        )

    assert not _is_open(database)


def test_a_terminated_backend_is_an_outage(
    make_pool: MakePool, db_snapshot: SnapshotChecker
) -> None:
    database = make_pool(1)

    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'"
    )
    with pytest.raises(DatabaseUnavailable):
        _execute(
            database,
            "SET LOCAL application_name = 'ended'",
            lambda: db_snapshot.rows(terminate),
            "SELECT pg_sleep(2)",
        )

    assert _is_open(database)


def test_errors_of_scripts_that_bypass_sqlalchemy_are_translated_too(make_pool: MakePool) -> None:
    statement = "DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{}'; END $$"
    database = make_pool(1)

    with pytest.raises(DatabaseBusy), database.connection() as connection:
        db.execute_script(connection, statement.format("55P03"))
    with pytest.raises(psycopg2.Error) as error, database.connection() as connection:
        db.execute_script(connection, statement.format("55P04"))

    assert not isinstance(error.value, DatabaseUnavailable)
    assert error.value.pgcode == "55P04"


def test_a_failed_connect_is_an_outage(app: object) -> None:
    database = open_database("postgresql://nobody@127.0.0.1:1/nowhere")

    with pytest.raises(DatabaseUnavailable) as error, database.connection():
        pytest.fail("connected")

    assert "refused" in postgres_errors.message(error.value.__cause__ or error.value)
    assert _is_open(database)


def test_a_locked_row_returns_503_and_other_tenants_are_served(
    acme: Tenant, globex: Tenant
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as holder:
        holder.execute(text("SELECT id FROM settings FOR UPDATE"))
        response = acme.patch("/settings", {"time_zone": "Europe/Berlin"})
        globex_response = globex.get("/settings")

    assert (response.status_code, response.json["code"]) == (503, "database-busy")
    assert int(response.headers["Retry-After"]) == 1
    assert globex_response.status_code == 200
    assert acme.patch("/settings", {"time_zone": "Europe/Berlin"}).status_code == 200


def test_the_log_contains_the_server_message_without_quoted_values(app: Flask) -> None:
    descriptions = []
    for statement in ("SELECT * FROM missing_table", "SELECT 'a caller said this'::integer"):
        with (
            pytest.raises(DBAPIError) as error,
            public_session(database=app_services().database) as session,
        ):
            session.execute(text(statement))
        descriptions.append(log.describe_exception(error.value))

    assert [(description["sqlstate"], description["message"]) for description in descriptions] == [
        ("42P01", 'relation "missing_table" does not exist'),
        ("22P02", "invalid input syntax for type integer: …"),
    ]
    assert "caller" not in str(descriptions)
