"""Tests of creating, listing and updating tenants and of their status changes."""

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory, Platform, Tenant, assert_created, fresh_number
from tests.support.services import app_services
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import schema
from vca.tenancy.session import tenant_session


def _set_status(platform: Platform, tenant: Tenant, status: str) -> int:
    return platform.api.patch(tenant.url(), {"status": status}).status_code


def test_a_created_tenant_is_usable_when_the_response_arrives(
    platform: Platform, world: Factory
) -> None:
    response = platform.api.post("/api/tenants", {"name": "Acme Dental", "plan": "growth"})

    tenant = assert_created(response)
    assert response.headers["Location"] == f"/api/tenants/{tenant['id']}"
    assert (tenant["status"], tenant["plan"]) == ("active", "growth")
    key = world.key(tenant["id"])
    numbers_response = world.api(key).get(f"/api/tenants/{tenant['id']}/phone-numbers")
    assert (numbers_response.status_code, numbers_response.json) == (200, [])


def test_external_ids_are_unique_and_names_are_not(platform: Platform, world: Factory) -> None:
    external_id = f"crm-{fresh_number()}"
    assert_created(platform.api.post("/api/tenants", {"name": "Acme", "external_id": external_id}))

    same_name = platform.api.post("/api/tenants", {"name": "Acme"})
    same_id = platform.api.post("/api/tenants", {"name": "Other", "external_id": external_id})

    assert same_name.status_code == 201
    assert (same_id.status_code, same_id.json["code"]) == (409, "external-id-taken")
    matches = platform.api.get("/api/tenants", external_id=external_id).json
    assert [tenant["name"] for tenant in matches] == ["Acme"]


def test_a_failed_creation_leaves_neither_row_nor_schema(world: Factory) -> None:
    def count_rows_and_schemas() -> tuple[int, int]:
        with admin_db.public_session() as session:
            rows = session.scalar(text("SELECT count(*) FROM public.tenants"))
            schemas = session.scalar(
                text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 't\\_%'")
            )
        return rows or 0, schemas or 0

    before = count_rows_and_schemas()

    def create_and_fail() -> None:
        with admin_db.public_session() as session:
            world.create_in(session, name="Half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        create_and_fail()

    assert count_rows_and_schemas() == before


@pytest.mark.parametrize(
    ("statuses", "rejected_status"),
    [
        (["suspended", "active", "suspended", "deleted", "active"], None),
        (["deleted"], "suspended"),
    ],
)
def test_only_valid_status_transitions_are_accepted(
    platform: Platform, acme: Tenant, statuses: list[str], rejected_status: str | None
) -> None:
    assert [_set_status(platform, acme, status) for status in statuses] == [200] * len(statuses)

    if rejected_status is not None:
        assert _set_status(platform, acme, rejected_status) == 409


def test_only_status_and_plan_can_be_changed(platform: Platform, acme: Tenant) -> None:
    renamed = platform.api.patch(acme.url(), {"name": "New"})
    empty = platform.api.patch(acme.url(), {})
    planned = platform.api.patch(acme.url(), {"plan": "custom"})

    assert renamed.status_code == 400
    assert renamed.json["errors"][0]["pointer"] == "/name"
    assert empty.status_code == 400
    assert planned.json["plan"] == "custom"


def test_a_suspended_tenant_can_read_but_not_write(platform: Platform, acme: Tenant) -> None:
    number = acme.number()
    _set_status(platform, acme, "suspended")

    assert acme.get(f"/phone-numbers/{number['id']}").status_code == 200
    response = acme.post("/phone-numbers", {"did_number": fresh_number()})

    assert (response.status_code, response.json["code"]) == (403, "tenant-suspended")
    assert (
        platform.api.patch(
            acme.url(f"/phone-numbers/{number['id']}"), {"label": "by operators"}
        ).status_code
        == 200
    )


def test_only_the_platform_can_read_a_deleted_tenant(platform: Platform, acme: Tenant) -> None:
    number = acme.number()
    _set_status(platform, acme, "deleted")

    assert acme.get().status_code == 401
    assert platform.api.get(acme.url("/phone-numbers")).status_code == 404
    assert platform.api.get(acme.url()).json["status"] == "deleted"
    did = platform.api.get("/api/dids", did_number=number["did_number"]).json[0]
    assert did["state"] == "resting"


def test_activating_a_deleted_tenant_registers_its_numbers(
    platform: Platform, world: Factory, acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    world.run_jobs(acme)

    _set_status(platform, acme, "deleted")
    world.run_jobs(acme)
    assert number not in carrier.registered_numbers
    _set_status(platform, acme, "active")
    world.run_jobs(acme)

    assert number in carrier.registered_numbers
    assert acme.simulate(number)["status"] == "in_progress"


def test_activating_a_deleted_tenant_does_not_reclaim_a_number_of_another_tenant(
    platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = acme.number()["did_number"]
    _set_status(platform, acme, "deleted")
    claim_response = platform.api.post(globex.url("/phone-numbers"), {"did_number": number})
    _set_status(platform, acme, "active")

    assert claim_response.status_code == 201
    owner_id = platform.api.get("/api/dids", did_number=number).json[0]["tenant_id"]
    assert owner_id == globex.id
    response = acme.post("/simulations", {"to": number})
    assert response.status_code == 404


def test_a_tenant_schema_contains_the_id_of_its_tenant(acme: Tenant) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        owner_id = session.scalar(text("SELECT id FROM tenant_self"))

    assert str(owner_id) == acme.id
    assert schema.schema_name(acme.ref.id) == f"t_{acme.ref.id.hex}"
