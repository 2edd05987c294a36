"""Tests that no login of the product can change or delete audit entries."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg2
import pytest

from tests.support import databases
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import Factory, Tenant
from tests.support.services import app_services

DENIED = "42501"
CHANGES = (
    "UPDATE {table} SET actor = 'nobody'",
    "UPDATE {table} SET changes = '{{}}' WHERE false",
    "DELETE FROM {table}",
    "DELETE FROM {table} WHERE false",
    "TRUNCATE {table}",
    "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
    "DROP TABLE {table}",
    "ALTER TABLE {table} ADD COLUMN more text",
)
# Create a tenant in a deployment without tenant roles.
CREATE_TENANT_WITHOUT_ROLE_SQL = """
BEGIN;
UPDATE public.deployment SET role_prefix = NULL;
SELECT public.create_tenant('{id}', 'Acme', 'starter', NULL);
UPDATE public.deployment SET role_prefix = '{prefix}';
COMMIT
"""
RunStatement = Callable[[str, str], str | None]


@pytest.fixture(params=[databases.WEB, databases.WORKER])
def run_statement(request: pytest.FixtureRequest, world: Factory) -> Iterator[RunStatement]:
    """Return a function that runs a statement and returns the SQLSTATE of its error, or None.

    It rolls back the transaction.
    """
    connection = psycopg2.connect(databases.as_login(app_services().database.dsn, request.param))
    connection.autocommit = True

    def run_and_roll_back(begin_sql: str, statement: str) -> str | None:
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"{begin_sql}; {statement}")
            except psycopg2.Error as error:
                return str(error.pgcode)
            finally:
                cursor.execute("ROLLBACK")
        return None

    yield run_and_roll_back
    connection.close()


def _begin_sql(tenant_id: str, role: str | None) -> str:
    begin_sql = (
        f'BEGIN; SET LOCAL search_path TO "{schema_of(tenant_id)}";'
        f" SET LOCAL vca.tenant_id = '{tenant_id}'"
    )
    return f'{begin_sql}; SET LOCAL ROLE "{role}"' if role else begin_sql


def test_a_tenant_transaction_can_only_read_and_add_audit_entries(
    acme: Tenant, run_statement: RunStatement
) -> None:
    acme.patch("/settings", {"time_zone": "Europe/Paris"})
    begin_sql = _begin_sql(acme.id, app_services().database.roles.role_name(acme.ref))

    for change in CHANGES:
        assert run_statement(begin_sql, change.format(table="audit_entries")) == DENIED, change
    assert run_statement(begin_sql, "SELECT * FROM audit_entries") is None


def test_audit_entries_are_protected_without_tenant_roles(
    db_snapshot: SnapshotChecker, run_statement: RunStatement
) -> None:
    tenant_id = str(uuid4())
    prefix = databases.DEPLOYMENT.roles.prefix
    db_snapshot.rows(CREATE_TENANT_WITHOUT_ROLE_SQL.format(id=tenant_id, prefix=prefix))
    begin_sql = _begin_sql(tenant_id, None)

    for change in CHANGES:
        assert run_statement(begin_sql, change.format(table="audit_entries")) == DENIED, change
    assert run_statement(begin_sql, "SELECT * FROM audit_entries") is None
    db_snapshot.rows(f'DROP SCHEMA "{schema_of(tenant_id)}" CASCADE')
    db_snapshot.rows("DELETE FROM public.tenants WHERE id = %s", UUID(tenant_id).hex)


def test_the_logins_can_only_read_and_add_platform_audit_entries(
    world: Factory, run_statement: RunStatement
) -> None:
    for change in CHANGES:
        assert run_statement("BEGIN", change.format(table="public.audit_entries")) == DENIED, change
    assert run_statement("BEGIN", "SELECT * FROM public.audit_entries") is None


def test_a_tenant_transaction_cannot_read_platform_audit_entries(
    acme: Tenant, run_statement: RunStatement
) -> None:
    begin_sql = _begin_sql(acme.id, app_services().database.roles.role_name(acme.ref))

    assert run_statement(begin_sql, "SELECT * FROM public.audit_entries") == DENIED
