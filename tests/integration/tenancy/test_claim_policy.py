"""A tenant's SQL cannot choose which numbers it may claim, nor how long a number is quarantined.

The tests call the functions as SQL in a tenant's transaction, as injected SQL would. A permission
to claim comes from outside of the tenant, before the transaction.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.support import admin_db, databases
from tests.support.factories import Platform, Tenant, fresh_number
from tests.support.services import app_services
from vca.registry.number_registry import service as number_registry
from vca.registry.number_registry.service import ClaimPolicy
from vca.tenancy.session import public_session

UNDEFINED_FUNCTION, DENIED = "42883", "42501"
_REST_SQL = """
SELECT state, rests_until - updated_at FROM public.dids WHERE did_number = :number
"""
TenantSql = Callable[..., object]


@pytest.fixture
def acme_sql(acme: Tenant, database_url: str) -> Iterator[TenantSql]:
    """Return a function that commits one statement in Acme's transaction; it returns a value."""
    connection = psycopg2.connect(databases.as_login(database_url, databases.WEB))
    role = app_services().database.roles.role_name(acme.ref)
    begin_sql = (
        f"SET LOCAL search_path TO \"{acme.ref.schema}\"; SET LOCAL vca.tenant_id = '{acme.id}';"
        f' SET LOCAL ROLE "{role}"'
    )

    def execute(statement: str, *parameters: object) -> object:
        with connection, connection.cursor() as cursor:
            cursor.execute(begin_sql)
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
            return row and row[0]

    yield execute
    connection.close()


def _claim(acme_sql: TenantSql, number: str) -> object:
    return acme_sql("SELECT public.claim_did(%s, gen_random_uuid(), 'fake', NULL)", number)


def _permit(tenant: Tenant, number: str, policy: ClaimPolicy = "open") -> None:
    with public_session(database=app_services().database) as session:
        number_registry.permit_claim(session, number=number, tenant_id=tenant.ref.id, policy=policy)


def _owner(number: str) -> object:
    with admin_db.public_session() as session:
        query = text("SELECT tenant_id FROM public.dids WHERE did_number = :number")
        return session.scalar(query, {"number": number})


def _quarantined_number(tenant: Tenant) -> str:
    number = tenant.number()
    tenant.delete(f"/phone-numbers/{number['id']}")
    did_number: str = number["did_number"]
    return did_number


def test_a_number_that_is_not_assigned_cannot_be_claimed(acme_sql: TenantSql) -> None:
    number = fresh_number()

    assert _claim(acme_sql, number) == "unassigned"
    assert _owner(number) is None


def test_a_permit_is_for_one_claim(acme: Tenant, globex: Tenant, acme_sql: TenantSql) -> None:
    number = fresh_number()
    _permit(acme, number)

    assert _claim(acme_sql, number) == "claimed"
    assert _owner(number) == acme.ref.id
    acme_sql("SELECT public.release_did(%s)", number)
    with admin_db.public_session() as session:
        end = text("DELETE FROM public.dids WHERE did_number = :number")
        session.execute(end, {"number": number})
    assert _claim(acme_sql, number) == "unassigned"


@pytest.mark.parametrize("policy", ["open", "proven"])
def test_a_quarantined_number_needs_the_permit_of_the_platform(
    acme: Tenant, globex: Tenant, acme_sql: TenantSql, policy: ClaimPolicy
) -> None:
    number = _quarantined_number(globex)

    assert _claim(acme_sql, number) == "taken"
    _permit(acme, number, policy)
    assert _claim(acme_sql, number) == "taken"
    assert _owner(number) == globex.ref.id
    _permit(acme, number, "platform")
    assert _claim(acme_sql, number) == "claimed"


def test_a_number_after_its_quarantine_needs_a_permit(
    acme: Tenant, globex: Tenant, acme_sql: TenantSql
) -> None:
    number = _quarantined_number(globex)
    with admin_db.public_session() as session:
        end = "UPDATE public.dids SET rests_until = now() WHERE did_number = :number"
        session.execute(text(end), {"number": number})

    assert _claim(acme_sql, number) == "unassigned"
    _permit(acme, number)
    assert _claim(acme_sql, number) == "claimed"


def test_the_permit_of_another_tenant_or_number_or_an_expired_one_permits_nothing(
    acme: Tenant, globex: Tenant, acme_sql: TenantSql
) -> None:
    number = fresh_number()
    _permit(globex, number)
    _permit(acme, fresh_number())
    assert _claim(acme_sql, number) == "unassigned"

    _permit(acme, number)
    with admin_db.public_session() as session:
        session.execute(text("UPDATE public.did_permits SET expires_at = now()"))
    assert _claim(acme_sql, number) == "unassigned"


def test_a_permit_whose_claim_fails_is_withdrawn(acme: Tenant, platform: Platform) -> None:
    number = fresh_number()

    response = platform.api.post(
        f"/api/tenants/{acme.id}/phone-numbers", {"did_number": number, "provider_type": "nobody"}
    )

    assert response.status_code == 400
    with admin_db.public_session() as session:
        assert number not in session.scalars(text("SELECT did_number FROM public.did_permits"))


def test_a_permit_is_deleted_with_its_tenant() -> None:
    tenant_id, number = uuid4(), fresh_number()
    create = "SELECT public.create_tenant(:id, 'Gone', 'starter', NULL)"
    with admin_db.public_session() as session:
        session.execute(text(create), {"id": tenant_id})
        number_registry.permit_claim(session, number=number, tenant_id=tenant_id, policy="open")

        session.execute(text("DELETE FROM public.tenants WHERE id = :id"), {"id": tenant_id})

        assert number not in session.scalars(text("SELECT did_number FROM public.did_permits"))
        session.rollback()


def test_a_claimed_number_cannot_be_claimed_with_any_permit(
    acme: Tenant, globex: Tenant, acme_sql: TenantSql
) -> None:
    number = globex.number()["did_number"]
    _permit(acme, number, "platform")

    assert _claim(acme_sql, number) == "taken"
    assert _owner(number) == globex.ref.id


def test_a_number_assigned_to_another_tenant_cannot_be_claimed_with_a_permit(
    acme: Tenant, globex: Tenant, acme_sql: TenantSql
) -> None:
    number = fresh_number()
    with public_session(database=app_services().database) as session:
        number_registry.assign(session, number=number, tenant_id=globex.ref.id)
    _permit(acme, number, "platform")

    assert _claim(acme_sql, number) == "taken"


def test_a_tenant_context_cannot_permit_even_without_the_tenants_role(acme: Tenant) -> None:
    with public_session(database=app_services().database) as session:
        session.execute(text(f"SET LOCAL vca.tenant_id = '{acme.id}'"))
        with pytest.raises(ProgrammingError, match="inside a tenant"):
            number_registry.permit_claim(
                session, number=fresh_number(), tenant_id=acme.ref.id, policy="platform"
            )
        session.rollback()


def test_a_tenants_role_cannot_permit_even_without_the_tenants_context(
    acme: Tenant, acme_sql: TenantSql
) -> None:
    permit = "SELECT public.permit_claim(%s, %s, true)"

    with pytest.raises(psycopg2.Error) as error:
        acme_sql(f"SET LOCAL vca.tenant_id = ''; {permit}", fresh_number(), acme.id)

    assert error.value.pgcode == DENIED


@pytest.mark.parametrize(
    "call",
    [
        "public.claim_did('{number}', gen_random_uuid(), 'fake', NULL, 'platform')",
        "public.release_did('{number}', interval '0')",
    ],
)
def test_no_function_takes_a_policy(acme_sql: TenantSql, call: str) -> None:
    with pytest.raises(psycopg2.Error) as error:
        acme_sql(f"SELECT {call.format(number=fresh_number())}")

    assert error.value.pgcode == UNDEFINED_FUNCTION


def test_a_released_number_is_quarantined_for_the_registrys_time(
    acme: Tenant, acme_sql: TenantSql
) -> None:
    number = fresh_number()
    _permit(acme, number)
    _claim(acme_sql, number)

    assert acme_sql("SELECT public.release_did(%s)", number) is True

    with admin_db.public_session() as session:
        row = session.execute(text(_REST_SQL), {"number": number}).one()
        quarantine = session.scalar(text("SELECT public.did_quarantine()"))
    assert tuple(row) == ("resting", number_registry.QUARANTINE)
    assert quarantine == number_registry.QUARANTINE == timedelta(days=30)
