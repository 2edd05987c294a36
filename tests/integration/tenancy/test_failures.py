"""Which errors of the database are an outage, which are a busy server, and which neither."""

import time
from collections.abc import Callable

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Tenant
from vca.kit import db, postgres_errors
from vca.kit.db import Database, DatabaseBusy, DatabaseUnavailable
from vca.observability import log
from vca.tenancy.session import public_session, tenant_session

Pool = Callable[..., Database]
OUTAGES = ("08000", "08003", "08006", "57P01", "57P02", "57P03", "53300")
BUSY = ("57014", "55P03", "25P03")
NEITHER = (
    "55P04",  # unsafe use of a new enum value: what PostgreSQL 16 refused in an upgrade
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


def _raise(database: Database, state: str) -> None:
    """Let the server end a statement with this SQLSTATE."""
    with public_session(database=database) as session:
        session.connection().exec_driver_sql(
            f"DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{state}'; END $$"
        )


def _execute(database: Database, *steps: str | Callable[[], object]) -> None:
    """Execute statements in one transaction, with pauses between them."""
    with public_session(database=database) as session:
        for step in steps:
            if isinstance(step, str):
                session.execute(text(step))
            else:
                step()


def _is_open(database: Database) -> bool:
    """Whether the circuit breaker refuses requests."""
    try:
        database.breaker.enter()
    except DatabaseUnavailable:
        return True
    return False


@pytest.mark.parametrize("state", OUTAGES)
def test_an_outage_is_unavailable_and_opens_the_breaker(state: str, make_pool: Pool) -> None:
    database = make_pool(1)

    with pytest.raises(DatabaseUnavailable):
        _raise(database, state)

    assert _is_open(database)


@pytest.mark.parametrize("state", BUSY)
def test_a_busy_server_is_no_outage(state: str, make_pool: Pool) -> None:
    database = make_pool(1)

    with pytest.raises(DatabaseBusy) as refused:
        _raise(database, state)

    assert (refused.value.status, refused.value.code) == (503, "database-busy")
    assert refused.value.retry_after_s == 1
    assert not _is_open(database)


@pytest.mark.parametrize("state", NEITHER)
def test_every_other_error_stays_what_it_is(state: str, make_pool: Pool) -> None:
    database = make_pool(1)

    with pytest.raises(DBAPIError) as refused:
        _raise(database, state)

    assert db.sqlstate(refused.value) == state
    assert postgres_errors.message(refused.value) == "as if"
    assert not _is_open(database)


def test_a_statement_past_its_time_limit_is_busy(make_pool: Pool) -> None:
    with pytest.raises(DatabaseBusy):
        _execute(make_pool(1), "SET LOCAL statement_timeout = '50ms'", "SELECT pg_sleep(2)")


def test_a_transaction_that_idled_too_long_is_busy_though_its_connection_is_gone(
    make_pool: Pool,
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


def test_a_backend_that_an_administrator_ends_is_an_outage(
    make_pool: Pool, db_snapshot: SnapshotChecker
) -> None:
    database = make_pool(1)

    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'"
    with pytest.raises(DatabaseUnavailable):
        _execute(
            database,
            "SET LOCAL application_name = 'ended'",
            lambda: db_snapshot.rows(end),
            "SELECT pg_sleep(2)",
        )

    assert _is_open(database)


def test_a_statement_past_sqlalchemy_fails_alike(make_pool: Pool) -> None:
    statement = "DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{}'; END $$"
    database = make_pool(1)

    with pytest.raises(DatabaseBusy), database.connection() as connection:
        db.execute_script(connection, statement.format("55P03"))
    with pytest.raises(psycopg2.Error) as refused, database.connection() as connection:
        db.execute_script(connection, statement.format("55P04"))

    assert not isinstance(refused.value, DatabaseUnavailable)
    assert refused.value.pgcode == "55P04"


def test_a_connect_that_fails_is_an_outage(app: object) -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nowhere")

    with pytest.raises(DatabaseUnavailable) as refused, database.connection():
        pytest.fail("connected")

    assert "refused" in postgres_errors.message(refused.value.__cause__ or refused.value)
    assert _is_open(database)


def test_a_lock_that_another_holds_answers_busy_and_others_are_served(
    acme: Tenant, globex: Tenant
) -> None:
    with tenant_session(acme.ref) as holder:
        holder.execute(text("SELECT id FROM settings FOR UPDATE"))
        answer = acme.patch("/settings", {"time_zone": "Europe/Berlin"})
        other = globex.get("/settings")

    assert (answer.status_code, answer.json["code"]) == (503, "database-busy")
    assert int(answer.headers["Retry-After"]) == 1
    assert other.status_code == 200
    assert acme.patch("/settings", {"time_zone": "Europe/Berlin"}).status_code == 200


def test_the_log_has_the_servers_words_but_no_value_that_they_quote(app: Flask) -> None:
    described = []
    for statement in ("SELECT * FROM missing_table", "SELECT 'a caller said this'::integer"):
        with pytest.raises(DBAPIError) as refused, public_session() as session:
            session.execute(text(statement))
        described.append(log.describe_exception(refused.value))

    assert [(it["sqlstate"], it["message"]) for it in described] == [
        ("42P01", 'relation "missing_table" does not exist'),
        ("22P02", "invalid input syntax for type integer: …"),
    ]
    assert "caller" not in str(described)
