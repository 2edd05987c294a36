"""Tests of the privileges of the web's login and of tenant roles.

The tests send SQL over connections of the login, without the code that opens sessions.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from tests.integration.tenancy.session_state import execute_unreachable
from tests.support import admin_db, databases
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services, open_database
from vca.kit import db
from vca.tenancy.roles import Roles
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, tenant_session

DENIED, UNDEFINED, INVALID_VALUE = "42501", "42P01", "22P02"
TABLES = ("settings", "ai_profiles", "phone_numbers", "calls", "call_events", "turns")


class WebConnection:
    """A connection of the web's login. It rolls back after each call."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def error_state(self, statements: str) -> str | None:
        """Run statements and return the SQLSTATE of their error, or None."""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(statements)
            except psycopg2.Error as error:
                return str(error.pgcode)
            finally:
                cursor.execute("ROLLBACK")
        return None

    def rows(self, statements: str) -> list[Any]:
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(statements)
                rows: list[Any] = cursor.fetchall()
                return rows
            finally:
                cursor.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def web_connection(world: Factory) -> Iterator[WebConnection]:
    """Open a connection as the web's login."""
    connection = WebConnection(app_services().database.dsn)
    yield connection
    connection.close()


def _role(tenant: Tenant) -> str:
    return str(app_services().database.roles.role_name(tenant.ref))


def _begin_sql(
    *, path: Tenant | None = None, context: Tenant | None = None, role: Tenant | None = None
) -> str:
    """Return the SQL that opens a tenant session, with parts of any tenant or without them."""
    parts = ["BEGIN"]
    if path is not None:
        parts.append(f'SET LOCAL search_path TO "{path.ref.schema}"')
    if context is not None:
        parts.append(f"SET LOCAL vca.tenant_id = '{context.id}'")
    if role is not None:
        parts.append(f'SET LOCAL ROLE "{_role(role)}"')
    return "; ".join([*parts, ""])


def _identity_check_sql(tenant: Tenant) -> str:
    return f"SELECT '{tenant.id}'::tenant_identity; "


def test_the_test_suite_opens_tenant_sessions_with_tenant_roles(
    acme: Tenant, web_connection: WebConnection
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        users = session.execute(text("SELECT session_user::text, current_user::text")).one()

    assert tuple(users) == (databases.WEB, _role(acme))
    assert web_connection.rows(
        _begin_sql(path=acme, context=acme, role=acme) + "SELECT id FROM settings"
    )


@pytest.mark.parametrize("table", TABLES)
def test_every_wrong_or_missing_part_of_a_session_denies_access(
    table: str, acme: Tenant, globex: Tenant, web_connection: WebConnection
) -> None:
    """Replace or omit parts of the statements that open a session of Acme."""
    foreign_table = f'"{globex.ref.schema}".{table}'
    cases = {
        "path of B, role of A": (
            _begin_sql(path=globex, context=acme, role=acme),
            table,
            UNDEFINED,
        ),
        "B's table by name": (
            _begin_sql(path=acme, context=acme, role=acme),
            foreign_table,
            DENIED,
        ),
        "no role, path of B": (_begin_sql(path=globex, context=acme), table, UNDEFINED),
        "no role, B's table by name": (_begin_sql(path=acme, context=acme), foreign_table, DENIED),
        "no role, own table": (_begin_sql(path=acme, context=acme), table, UNDEFINED),
        "no setting": ("BEGIN; ", table, UNDEFINED),
        "no setting, B's table by name": ("BEGIN; ", foreign_table, DENIED),
    }
    for description, (begin_sql, name, sqlstate) in cases.items():
        for statement in (
            f"SELECT * FROM {name}",
            f"UPDATE {name} SET tenant_id = tenant_id",
            f"DELETE FROM {name}",
            f"INSERT INTO {name} (tenant_id) VALUES ('{acme.id}')",
            f"LOCK TABLE {name} IN ACCESS SHARE MODE",
        ):
            assert web_connection.error_state(begin_sql + statement) == sqlstate, (
                f"{description}: {statement}"
            )


def test_the_identity_check_fails_with_path_and_role_of_another_tenant(
    acme: Tenant, globex: Tenant, web_connection: WebConnection
) -> None:
    begin_sql = _begin_sql(path=globex, context=acme, role=globex)

    assert web_connection.error_state(begin_sql + _identity_check_sql(acme)) == INVALID_VALUE


def test_a_changed_search_path_gives_no_access_to_another_tenant(
    acme: Tenant, globex: Tenant
) -> None:
    path = func.set_config("search_path", globex.ref.schema, True)
    with tenant_session(acme.ref, database=app_services().database) as session:
        session.execute(select(path))
        with pytest.raises(DBAPIError) as error:
            session.execute(text("SELECT * FROM settings"))

    assert db.sqlstate(error.value) == UNDEFINED


def test_rolling_back_a_savepoint_does_not_reset_the_role(acme: Tenant, globex: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text(f'SELECT * FROM "{globex.ref.schema}".settings'))
        assert session.scalar(text("SELECT current_user::text")) == _role(acme)
        assert session.scalars(text("SELECT tenant_id FROM settings")).all() == [acme.ref.id]


def test_the_role_is_reset_at_the_end_of_each_transaction(acme: Tenant, world: Factory) -> None:
    database = open_database(app_services().database.dsn, pool_size=1)
    endings = ("SELECT 1", "SELECT 1 / 0", "SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)")
    for ending in endings:
        try:
            with tenant_session(acme.ref, database=database) as session:
                session.connection().exec_driver_sql(ending)
        except (DBAPIError, db.DatabaseFailure):
            pass
        with database.connection() as connection:
            assert connection.scalar(text("SELECT current_user::text")) == databases.WEB
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine (id uuid)",
        "CREATE TEMP TABLE mine (id uuid)",
        "CREATE ROLE mine",
        "INSERT INTO public.tenants (id) VALUES (gen_random_uuid())",
        "UPDATE public.tenants SET status = 'active'",
        "DELETE FROM public.tenants",
        "UPDATE public.dids SET state = state",
        "UPDATE public.deployment SET environment = 'x'",
        "SELECT script FROM public.tenant_ddl",
        "SELECT * FROM jobs.procrastinate_jobs",
        "SELECT jobs.procrastinate_finish_job_v1(1, 'failed', false)",
        "SELECT public.tenant_grantees(gen_random_uuid())",
        "DELETE FROM public.api_keys",
    ],
)
def test_the_web_login_is_denied(
    statement: str, acme: Tenant, web_connection: WebConnection
) -> None:
    assert web_connection.error_state(f"BEGIN; {statement}") == DENIED


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.tenants",
        "SELECT * FROM public.api_keys",
        "SELECT * FROM public.dids",
        "SELECT * FROM jobs.procrastinate_jobs",
        "SELECT public.create_tenant(gen_random_uuid(), 'x', 'starter', NULL)",
        "SELECT public.update_tenant('{other}', 'suspended', NULL)",
        "SELECT public.release_tenant_dids('{other}')",
        "SELECT public.permit_claim('+14155550199', '{other}', true)",
        "SELECT * FROM public.did_permits",
        "INSERT INTO public.did_permits VALUES ('+14155550199', '{other}', true, now())",
        "SELECT public.take_relay_slot(gen_random_uuid(), 1000000, interval '1 day')",
        "SELECT public.hold_relay_slot(gen_random_uuid(), true, interval '1 day')",
        "SELECT public.start_model_check('x', 'x', interval '0')",
        "SELECT public.draw_tokens(ARRAY[gen_random_uuid()], ARRAY[1.0], ARRAY[9], ARRAY[9])",
        "SELECT jobs.take('calls', 1, 1000000)",
        "SELECT public.assign_did('+14155550199', '{other}')",
        "CREATE TABLE mine (id uuid)",
        "ALTER TABLE settings ADD COLUMN mine text",
        "UPDATE tenant_self SET id = id",
        "INSERT INTO tenant_self VALUES ('{other}')",
        "TRUNCATE settings",
    ],
)
def test_a_tenant_transaction_is_denied(
    statement: str, acme: Tenant, globex: Tenant, web_connection: WebConnection
) -> None:
    begin_sql = _begin_sql(path=acme, context=acme, role=acme) + _identity_check_sql(acme)

    assert web_connection.error_state(begin_sql + statement.format(other=globex.id)) == DENIED


def test_functions_reject_a_tenant_id_that_does_not_match_the_role(
    acme: Tenant, globex: Tenant, web_connection: WebConnection
) -> None:
    number = globex.number()["did_number"]
    calls = (
        f"SELECT public.claim_did('{fresh_number()}', gen_random_uuid(), 'fake', NULL)",
        f"SELECT public.release_did('{number}')",
        f"SELECT public.note_did('{number}', gen_random_uuid(), 'failed', 'fake', NULL, NULL, NULL,"
        " NULL)",
        f"SELECT * FROM public.own_did('{number}')",
        f"SELECT public.did_holder('{number}')",
        "SELECT public.acting_tenant()",
        "SELECT jobs.enqueue('batch', 'x', '{}', NULL, NULL)",
    )
    for call in calls:
        assert (
            web_connection.error_state(_begin_sql(path=acme, context=globex, role=acme) + call)
            == DENIED
        ), call
        assert (
            web_connection.error_state(_begin_sql(path=globex, context=globex) + call) == DENIED
        ), call
    assert web_connection.error_state(_begin_sql(path=acme, role=acme) + calls[-1]) == DENIED
    assert globex.get("/phone-numbers").json[0]["did_number"] == number


def test_a_tenant_learns_only_that_a_foreign_number_is_claimed(
    acme: Tenant, globex: Tenant, web_connection: WebConnection
) -> None:
    number = globex.number()["did_number"]
    begin_sql = _begin_sql(path=acme, context=acme, role=acme)

    assert web_connection.rows(f"{begin_sql}SELECT * FROM public.own_did('{number}')") == []
    holders = web_connection.rows(f"{begin_sql}SELECT public.did_holder('{number}')")
    assert holders == [(str(UUID(int=0)),)]


def test_a_missing_role_fails_before_the_first_statement(acme: Tenant) -> None:
    with admin_db.tenant_session(acme.ref) as session:
        role = _role(acme)
        session.execute(text(f'ALTER ROLE "{role}" RENAME TO "{role}_aside"'))

    with (
        pytest.raises(IsolationError),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        execute_unreachable(session)
    with (
        pytest.raises(IsolationError),
        tenant_session(TenantRef(uuid4()), database=app_services().database) as session,
    ):
        execute_unreachable(session)

    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text(f'ALTER ROLE "{role}_aside" RENAME TO "{role}"'))
    assert acme.get("/settings").status_code == 200


def test_without_tenant_roles_the_logins_are_the_grantees(acme: Tenant) -> None:
    current_roles, disabled_roles = (
        app_services().database.roles,
        Roles(None, databases.WEB, databases.WORKER),
    )
    assert disabled_roles.role_name(acme.ref) is None
    assert disabled_roles.grantees(acme.ref) == f'"{databases.WEB}", "{databases.WORKER}"'
    assert current_roles.grantees(acme.ref) == f'"{_role(acme)}"'
