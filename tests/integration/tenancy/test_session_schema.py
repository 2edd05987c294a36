"""Tests of sessions: each is in its tenant's schema or fails."""

from typing import cast
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.integration.tenancy.session_state import (
    DEFAULT_PATH,
    MakePool,
    execute_unreachable,
    new_profile,
    search_path_and_tenant,
)
from tests.support import admin_db
from tests.support.api import ApiResponse
from tests.support.db_snapshot import SnapshotChecker, schema_of
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.populated_tenant import SignedCarrierClient, populate_tenant
from tests.support.services import app_services
from vca.jobs import queue
from vca.kit import db
from vca.registry.number_registry import service as number_registry
from vca.registry.preflight import TABLES_PER_TENANT
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef, schema_name
from vca.tenancy.session import (
    IsolationError,
    TenantReader,
    open_public,
    open_tenant,
    owner_session,
    public_connection,
    public_session,
    run_script,
    tenant_session,
)
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.settings.models import Settings


def test_a_tenant_session_reads_only_the_schema_of_its_tenant(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)
        assert session.scalars(select(Settings.id)).all() == [UUID(acme.id)]
        assert session.scalar(text("SELECT public.acting_tenant()")) == acme.ref.id
        with pytest.raises(DBAPIError) as error:
            session.execute(text("SELECT count(*) FROM tenants"))  # `public` is not in the path

    assert db.sqlstate(error.value) == "42P01"


def test_a_missing_schema_fails_before_the_first_statement(acme: Tenant) -> None:
    with (
        pytest.raises(IsolationError),
        tenant_session(TenantRef(uuid4()), database=app_services().database) as session,
    ):
        execute_unreachable(session)


def test_an_empty_session_in_a_missing_schema_fails(acme: Tenant) -> None:
    with (
        pytest.raises(IsolationError),
        tenant_session(TenantRef(uuid4()), database=app_services().database),
    ):
        pass


@pytest.mark.usefixtures("swapped_schemas")
def test_a_schema_of_another_tenant_fails_before_the_first_statement(
    app: Flask, acme: Tenant
) -> None:
    with (
        pytest.raises(IsolationError),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        execute_unreachable(session)
    response = cast(
        ApiResponse,
        app.test_client().get(
            acme.url("/settings"), headers={"Authorization": f"Bearer {acme.key}"}
        ),
    )

    assert (response.status_code, response.json["code"]) == (500, "internal-error")


@pytest.mark.usefixtures("swapped_schemas")
def test_an_owner_session_fails_in_a_schema_of_another_tenant(
    acme: Tenant, globex: Tenant, owner_database: TenantDatabase, db_snapshot: SnapshotChecker
) -> None:
    with pytest.raises(IsolationError), owner_session(acme.ref, database=owner_database) as session:
        execute_unreachable(session)
    with pytest.raises(IsolationError), owner_database.connection() as connection:
        run_script(connection, acme.ref, "CREATE TABLE left_behind (id uuid)")

    assert not db_snapshot.rows("SELECT FROM pg_class WHERE relname = 'left_behind'")


@pytest.mark.parametrize("missing", ["the value", "the type"])
def test_a_schema_without_the_identity_of_its_tenant_fails(
    missing: str, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    identity_type, renamed_type = (
        f'"{acme.ref.schema}".{name}' for name in ("tenant_identity", "aside")
    )
    change, repair = {
        "the value": (
            f"ALTER TYPE {identity_type} RENAME VALUE '{acme.id}' TO '{globex.id}'",
            f"ALTER TYPE {identity_type} RENAME VALUE '{globex.id}' TO '{acme.id}'",
        ),
        "the type": (
            f"ALTER TYPE {identity_type} RENAME TO aside",
            f"ALTER TYPE {renamed_type} RENAME TO tenant_identity",
        ),
    }[missing]
    db_snapshot.rows(change)

    with (
        pytest.raises(IsolationError),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        execute_unreachable(session)
    db_snapshot.rows(repair)
    with tenant_session(acme.ref, database=app_services().database) as session:
        assert session.scalars(select(Settings.tenant_id)).all() == [acme.ref.id]


def test_a_missing_schema_never_falls_back_to_public(
    acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    """Create a valid identity type in `public`, which the session must not use."""
    missing_tenant = TenantRef(uuid4())
    db_snapshot.rows(f"CREATE TYPE public.tenant_identity AS ENUM ('{missing_tenant.id}')")
    try:
        with (
            pytest.raises(IsolationError),
            tenant_session(missing_tenant, database=app_services().database) as session,
        ):
            execute_unreachable(session)
    finally:
        db_snapshot.rows("DROP TYPE public.tenant_identity")


def test_a_public_session_finds_no_tenant_table(acme: Tenant) -> None:
    acme.profile()

    for open_session in (public_session, public_connection):
        with (
            pytest.raises(DBAPIError) as error,
            open_session(database=app_services().database) as session,
        ):
            session.execute(select(AiProfile.id))
        assert db.sqlstate(error.value) == "42P01"
    with public_session(database=app_services().database) as session:
        assert search_path_and_tenant(session) == (DEFAULT_PATH, "")


def test_a_public_session_cannot_claim_a_number(acme: Tenant) -> None:
    number = fresh_number()
    with public_session(database=app_services().database) as session:
        number_registry.permit_claim(
            session, number=number, tenant_id=acme.ref.id, policy="platform"
        )

    with pytest.raises(DBAPIError), public_session(database=app_services().database) as session:
        number_registry.claim(
            session,
            number=number,
            phone_number_id=uuid4(),
            carrier=ProviderAccountRef("generic"),
        )
    with public_session(database=app_services().database) as session:
        assert number_registry.current_holder(session, number=number) is None


def test_a_session_cannot_be_opened_inside_an_open_transaction(
    acme: Tenant, globex: Tenant, make_pool: MakePool
) -> None:
    """The open transaction would stay where it is, and the next one would begin in the tenant."""
    with make_pool(1).connection() as connection:
        reader = TenantReader(connection, acme.ref, app_services().database.roles)
        with (
            open_tenant(connection, globex.ref, database=app_services().database),
            pytest.raises(IsolationError),
            open_tenant(connection, acme.ref, database=app_services().database),
        ):
            pytest.fail("entered")
        with (
            open_tenant(connection, globex.ref, database=app_services().database),
            pytest.raises(IsolationError),
            open_public(connection),
        ):
            pytest.fail("left")
        with (
            open_tenant(connection, globex.ref, database=app_services().database),
            pytest.raises(IsolationError),
        ):
            reader.fetch_rows("SELECT 1", {})
        connection.rollback()
        assert search_path_and_tenant(connection) == (DEFAULT_PATH, "")


def test_concurrent_sessions_of_two_tenants_are_separate_transactions(
    acme: Tenant, globex: Tenant
) -> None:
    with (
        tenant_session(acme.ref, database=app_services().database) as acme_session,
        tenant_session(globex.ref, database=app_services().database) as globex_session,
    ):
        assert search_path_and_tenant(acme_session) == (acme.ref.schema, acme.id)
        assert search_path_and_tenant(globex_session) == (globex.ref.schema, globex.id)
        assert acme_session.scalars(select(Settings.tenant_id)).all() == [UUID(acme.id)]
        assert globex_session.scalars(select(Settings.tenant_id)).all() == [UUID(globex.id)]


def test_a_savepoint_does_not_change_search_path_and_tenant(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        with pytest.raises(DBAPIError), session.begin_nested():
            session.execute(text("SELECT 1 / 0"))
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)
        with session.begin_nested():
            session.execute(text("SELECT 1"))
        assert search_path_and_tenant(session) == (acme.ref.schema, acme.id)


def test_the_schema_name_is_derived_from_the_tenant_id(acme: Tenant) -> None:
    for tenant_id in (uuid4(), UUID(int=0), UUID(int=2**128 - 1)):
        assert schema_name(tenant_id) == f"t_{tenant_id.hex}"
        assert len(schema_name(tenant_id)) == 34
    assert acme.ref.schema == schema_of(acme.id)


def test_every_table_rejects_a_row_with_another_tenants_id(
    world: Factory, carrier: FakeTelephonyAdapter, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    populated_tenant = populate_tenant(
        world, world.platform(), SignedCarrierClient(world, carrier), "acme"
    )
    tables = db_snapshot.tables(populated_tenant.tenant.id)
    assert len(tables) == TABLES_PER_TENANT

    for table in tables:
        column = "id" if table == "tenant_self" else "tenant_id"
        update = text(f"UPDATE {table} SET {column} = :other")
        with (
            admin_db.tenant_session(populated_tenant.tenant.ref) as session,
            pytest.raises(IntegrityError) as error,
        ):
            session.execute(update, {"other": globex.id})
        assert db.sqlstate(error.value) == "23514"
        constraints = {f"{table}_{column}_check", "settings_one_check"}
        assert db.constraint_name(error.value) in constraints


def test_the_tenant_id_of_a_row_comes_from_the_session_and_not_from_a_default(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    defaults = db_snapshot.rows(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = %s"
        " AND column_name = 'tenant_id' AND (column_default IS NOT NULL OR is_nullable = 'YES')",
        acme.ref.schema,
    )
    with (
        pytest.raises(IntegrityError),
        tenant_session(acme.ref, database=app_services().database) as session,
    ):
        session.add(new_profile(tenant_id=UUID(globex.id)))
    with tenant_session(acme.ref, database=app_services().database) as session:
        session.add(new_profile())

    assert defaults == []
    assert [profile["tenant_id"] for profile in acme.get("/ai-profiles").json] == [acme.id]


def test_the_tenant_id_of_a_job_comes_from_the_session_and_not_from_arguments(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        queue.enqueue(session, "phone_numbers.register", tenant_id=globex.id, number="x")

    tenant_ids = db_snapshot.rows(
        "SELECT args->>'tenant_id' FROM jobs.procrastinate_jobs WHERE args->>'number' = 'x'"
    )
    db_snapshot.rows("DELETE FROM jobs.procrastinate_jobs WHERE args->>'number' = 'x'")
    assert tenant_ids == [(acme.id,)]
