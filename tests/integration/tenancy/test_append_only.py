"""What was told stays as it was told: no login of the product can change or delete it."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg2
import pytest

from tests.support import databases
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import Factory, Tenant
from vca.kit import db
from vca.tenancy import roles

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
# A tenant that is made where tenants have no roles of their own.
WITHOUT_ROLES = """
BEGIN;
UPDATE public.deployment SET role_prefix = NULL;
SELECT public.create_tenant('{id}', 'Acme', 'starter', NULL);
UPDATE public.deployment SET role_prefix = '{prefix}';
COMMIT
"""
State = Callable[[str, str], str | None]


@pytest.fixture(params=[databases.WEB, databases.WORKER])
def state(request: pytest.FixtureRequest, world: Factory) -> Iterator[State]:
    """The SQLSTATE of what a login is refused; None for what it is not. All is rolled back."""
    connection = psycopg2.connect(databases.as_login(db.current_database().dsn, request.param))
    connection.autocommit = True

    def ask(opening: str, statement: str) -> str | None:
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"{opening}; {statement}")
            except psycopg2.Error as error:
                return str(error.pgcode)
            finally:
                cursor.execute("ROLLBACK")
        return None

    yield ask
    connection.close()


def _inside(tenant_id: str, role: str | None) -> str:
    opening = (
        f'BEGIN; SET LOCAL search_path TO "{schema_of(tenant_id)}";'
        f" SET LOCAL vca.tenant_id = '{tenant_id}'"
    )
    return f'{opening}; SET LOCAL ROLE "{role}"' if role else opening


def test_a_tenants_entries_are_added_and_read_only(acme: Tenant, state: State) -> None:
    acme.patch("/settings", {"time_zone": "Europe/Paris"})
    opening = _inside(acme.id, roles.current_roles().role_name(acme.ref))

    for change in CHANGES:
        assert state(opening, change.format(table="audit_entries")) == DENIED, change
    assert state(opening, "SELECT * FROM audit_entries") is None


def test_they_are_where_tenants_have_no_roles_too(
    db_snapshot: SnapshotChecker, state: State
) -> None:
    tenant_id = str(uuid4())
    prefix = databases.DEPLOYMENT.roles.prefix
    db_snapshot.rows(WITHOUT_ROLES.format(id=tenant_id, prefix=prefix))
    opening = _inside(tenant_id, None)

    for change in CHANGES:
        assert state(opening, change.format(table="audit_entries")) == DENIED, change
    assert state(opening, "SELECT * FROM audit_entries") is None
    db_snapshot.rows(f'DROP SCHEMA "{schema_of(tenant_id)}" CASCADE')
    db_snapshot.rows("DELETE FROM public.tenants WHERE id = %s", UUID(tenant_id).hex)


def test_the_platforms_entries_are_added_and_read_only(world: Factory, state: State) -> None:
    for change in CHANGES:
        assert state("BEGIN", change.format(table="public.audit_entries")) == DENIED, change
    assert state("BEGIN", "SELECT * FROM public.audit_entries") is None


def test_inside_a_tenant_the_platforms_entries_cannot_even_be_read(
    acme: Tenant, state: State
) -> None:
    opening = _inside(acme.id, roles.current_roles().role_name(acme.ref))

    assert state(opening, "SELECT * FROM public.audit_entries") == DENIED
