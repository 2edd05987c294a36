"""What the database itself refuses, whatever our code would send: every cell an error, no rows.

Without the door: strings as a mistaken program would send them, on the web's own login.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from tests.support import admin_db, databases
from tests.support.factories import Factory, Tenant, fresh_number
from vca.kit import db
from vca.kit.db import Database
from vca.tenancy import roles
from vca.tenancy.roles import Roles
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import IsolationError, tenant_session

DENIED, UNDEFINED, NO_SUCH_VALUE = "42501", "42P01", "22P02"
TABLES = ("settings", "ai_profiles", "phone_numbers", "calls", "call_events", "turns")


class Raw:
    """The web's login without our code; each string is a transaction that is rolled back."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def state(self, statements: str) -> str | None:
        """The SQLSTATE of what is refused, None for what is not."""
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
                return cursor.fetchall()
            finally:
                cursor.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def raw(world: Factory) -> Iterator[Raw]:
    """A connection as the web's login."""
    connection = Raw(db.current_database().dsn)
    yield connection
    connection.close()


def _role(tenant: Tenant) -> str:
    return str(roles.current_roles().role_name(tenant.ref))


def _into(
    *, path: Tenant | None = None, context: Tenant | None = None, role: Tenant | None = None
) -> str:
    """An opening as the door sends it, with each part some tenant's or left out."""
    parts = ["BEGIN"]
    if path is not None:
        parts.append(f'SET LOCAL search_path TO "{path.ref.schema}"')
    if context is not None:
        parts.append(f"SET LOCAL vca.tenant_id = '{context.id}'")
    if role is not None:
        parts.append(f'SET LOCAL ROLE "{_role(role)}"')
    return "; ".join([*parts, ""])


def _fence(tenant: Tenant) -> str:
    return f"SELECT '{tenant.id}'::tenant_identity; "


def test_the_tests_enter_tenants_as_production_does(acme: Tenant, raw: Raw) -> None:
    with tenant_session(acme.ref) as session:
        who = session.execute(text("SELECT session_user::text, current_user::text")).one()

    assert tuple(who) == (databases.WEB, _role(acme))
    assert raw.rows(_into(path=acme, context=acme, role=acme) + "SELECT id FROM settings")


@pytest.mark.parametrize("table", TABLES)
def test_no_part_of_an_opening_can_be_another_tenants(
    table: str, acme: Tenant, globex: Tenant, raw: Raw
) -> None:
    """Acme is meant; what is wrong is the rest."""
    explicit = f'"{globex.ref.schema}".{table}'
    reads = {
        "path of B, role of A": (_into(path=globex, context=acme, role=acme), table, UNDEFINED),
        "B's table by name": (_into(path=acme, context=acme, role=acme), explicit, DENIED),
        "no role, path of B": (_into(path=globex, context=acme), table, UNDEFINED),
        "no role, B's table by name": (_into(path=acme, context=acme), explicit, DENIED),
        "no role, own table": (_into(path=acme, context=acme), table, UNDEFINED),
        "nothing at all": ("BEGIN; ", table, UNDEFINED),
        "nothing at all, by name": ("BEGIN; ", explicit, DENIED),
    }
    for how, (opening, name, state) in reads.items():
        for statement in (
            f"SELECT * FROM {name}",
            f"UPDATE {name} SET tenant_id = tenant_id",
            f"DELETE FROM {name}",
            f"INSERT INTO {name} (tenant_id) VALUES ('{acme.id}')",
            f"LOCK TABLE {name} IN ACCESS SHARE MODE",
        ):
            assert raw.state(opening + statement) == state, f"{how}: {statement}"


def test_path_and_role_of_another_tenant_fail_at_the_fence(
    acme: Tenant, globex: Tenant, raw: Raw
) -> None:
    opening = _into(path=globex, context=acme, role=globex)

    assert raw.state(opening + _fence(acme)) == NO_SUCH_VALUE


def test_a_path_set_midway_finds_nothing(acme: Tenant, globex: Tenant) -> None:
    path = func.set_config("search_path", globex.ref.schema, True)
    with tenant_session(acme.ref) as session:
        session.execute(select(path))
        with pytest.raises(DBAPIError) as refused:
            session.execute(text("SELECT * FROM settings"))

    assert db.sqlstate(refused.value) == UNDEFINED


def test_a_savepoint_that_is_rolled_back_leaves_the_role(acme: Tenant, globex: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text(f'SELECT * FROM "{globex.ref.schema}".settings'))
        assert session.scalar(text("SELECT current_user::text")) == _role(acme)
        assert session.scalars(text("SELECT tenant_id FROM settings")).all() == [acme.ref.id]


def test_no_role_outlives_its_transaction(acme: Tenant, world: Factory) -> None:
    one = Database(db.current_database().dsn, pool_size=1)
    endings = ("SELECT 1", "SELECT 1 / 0", "SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)")
    for ending in endings:
        try:
            with tenant_session(acme.ref, database=one) as session:
                session.connection().exec_driver_sql(ending)
        except (DBAPIError, db.DatabaseFailure):
            pass
        with one.connection() as connection:
            assert connection.scalar(text("SELECT current_user::text")) == databases.WEB
    one.close()


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
def test_the_webs_login_may_not(statement: str, acme: Tenant, raw: Raw) -> None:
    assert raw.state(f"BEGIN; {statement}") == DENIED


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.tenants",
        "SELECT * FROM public.api_keys",
        "SELECT * FROM public.dids",
        "SELECT * FROM jobs.procrastinate_jobs",
        "SELECT public.create_tenant(gen_random_uuid(), 'x', 'starter', NULL)",
        "SELECT public.update_tenant('{other}', 'suspended', NULL)",
        "SELECT public.release_tenant_dids('{other}', interval '0')",
        "SELECT public.assign_did('+14155550199', '{other}')",
        "CREATE TABLE mine (id uuid)",
        "ALTER TABLE settings ADD COLUMN mine text",
        "UPDATE tenant_self SET id = id",
        "INSERT INTO tenant_self VALUES ('{other}')",
        "TRUNCATE settings",
    ],
)
def test_a_transaction_inside_a_tenant_may_not(
    statement: str, acme: Tenant, globex: Tenant, raw: Raw
) -> None:
    opening = _into(path=acme, context=acme, role=acme) + _fence(acme)

    assert raw.state(opening + statement.format(other=globex.id)) == DENIED


def test_a_forged_context_is_refused_by_what_acts_in_its_name(
    acme: Tenant, globex: Tenant, raw: Raw
) -> None:
    number = globex.number()["did_number"]
    calls = (
        f"SELECT public.claim_did('{fresh_number()}', gen_random_uuid(), 'fake', 'open')",
        f"SELECT public.release_did('{number}', interval '0')",
        f"SELECT public.note_did_registration('{number}', gen_random_uuid(), 'fake', 'failed')",
        f"SELECT * FROM public.own_did('{number}')",
        f"SELECT public.did_holder('{number}')",
        "SELECT public.acting_tenant()",
        "SELECT jobs.enqueue('x', '{}')",
    )
    for call in calls:
        assert raw.state(_into(path=acme, context=globex, role=acme) + call) == DENIED, call
        assert raw.state(_into(path=globex, context=globex) + call) == DENIED, call
    assert raw.state(_into(path=acme, role=acme) + calls[-1]) == DENIED
    assert globex.get("/phone-numbers").json[0]["did_number"] == number


def test_a_tenant_sees_of_anothers_number_only_that_it_is_taken(
    acme: Tenant, globex: Tenant, raw: Raw
) -> None:
    number = globex.number()["did_number"]
    opening = _into(path=acme, context=acme, role=acme)

    assert raw.rows(f"{opening}SELECT * FROM public.own_did('{number}')") == []
    held = raw.rows(f"{opening}SELECT public.did_holder('{number}')")
    assert held == [(str(UUID(int=0)),)]


def test_a_missing_role_is_an_error_before_the_first_statement(acme: Tenant) -> None:
    with admin_db.tenant_session(acme.ref) as session:
        role = _role(acme)
        session.execute(text(f'ALTER ROLE "{role}" RENAME TO "{role}_aside"'))

    with pytest.raises(IsolationError), tenant_session(acme.ref):
        pytest.fail("entered")
    with pytest.raises(IsolationError), tenant_session(TenantRef(uuid4())):
        pytest.fail("entered")

    with admin_db.tenant_session(acme.ref) as session:
        session.execute(text(f'ALTER ROLE "{role}_aside" RENAME TO "{role}"'))
    assert acme.get("/settings").status_code == 200


def test_without_roles_it_is_the_logins_that_are_granted_the_tables(acme: Tenant) -> None:
    before, off = roles.current_roles(), Roles(None, databases.WEB, databases.WORKER)
    assert off.role_name(acme.ref) is None
    assert off.grantees(acme.ref) == f'"{databases.WEB}", "{databases.WORKER}"'
    assert before.grantees(acme.ref) == f'"{_role(acme)}"'
