"""Tenants: made whole, listed, and moved through their states."""

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Factory, Platform, Tenant, assert_created, fresh_number
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import schema
from vca.tenancy.session import tenant_session


def _status(platform: Platform, tenant: Tenant, status: str) -> int:
    return platform.api.patch(tenant.url(), {"status": status}).status_code


def test_a_created_tenant_is_usable_when_the_answer_comes(
    platform: Platform, world: Factory
) -> None:
    response = platform.api.post("/api/tenants", {"name": "Acme Dental", "plan": "growth"})

    tenant = assert_created(response)
    assert response.headers["Location"] == f"/api/tenants/{tenant['id']}"
    assert (tenant["status"], tenant["plan"]) == ("active", "growth")
    key = world.key(tenant["id"])
    listed = world.api(key).get(f"/api/tenants/{tenant['id']}/phone-numbers")
    assert (listed.status_code, listed.json) == (200, [])


def test_names_may_repeat_and_external_ids_may_not(platform: Platform, world: Factory) -> None:
    external_id = f"crm-{fresh_number()}"
    assert_created(platform.api.post("/api/tenants", {"name": "Acme", "external_id": external_id}))

    same_name = platform.api.post("/api/tenants", {"name": "Acme"})
    same_id = platform.api.post("/api/tenants", {"name": "Other", "external_id": external_id})

    assert same_name.status_code == 201
    assert (same_id.status_code, same_id.json["code"]) == (409, "external-id-taken")
    found = platform.api.get("/api/tenants", external_id=external_id).json
    assert [tenant["name"] for tenant in found] == ["Acme"]


def test_a_creation_that_fails_leaves_neither_row_nor_schema(world: Factory) -> None:
    def counts() -> tuple[int, int]:
        with admin_db.public_session() as session:
            rows = session.scalar(text("SELECT count(*) FROM public.tenants"))
            schemas = session.scalar(
                text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 't\\_%'")
            )
        return rows or 0, schemas or 0

    before = counts()

    def create_and_fail() -> None:
        with admin_db.public_session() as session:
            world.create_in(session, name="Half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        create_and_fail()

    assert counts() == before


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        (["suspended", "active", "suspended", "deleted", "active"], None),
        (["deleted"], "suspended"),
    ],
)
def test_a_tenant_goes_only_where_its_status_allows(
    platform: Platform, acme: Tenant, path: list[str], refused: str | None
) -> None:
    assert [_status(platform, acme, status) for status in path] == [200] * len(path)

    if refused is not None:
        assert _status(platform, acme, refused) == 409


def test_only_status_and_plan_can_be_changed(platform: Platform, acme: Tenant) -> None:
    renamed = platform.api.patch(acme.url(), {"name": "New"})
    nothing = platform.api.patch(acme.url(), {})
    planned = platform.api.patch(acme.url(), {"plan": "custom"})

    assert renamed.status_code == 400
    assert renamed.json["errors"][0]["pointer"] == "/name"
    assert nothing.status_code == 400
    assert planned.json["plan"] == "custom"


def test_a_suspended_tenant_reads_but_does_not_write(platform: Platform, acme: Tenant) -> None:
    number = acme.number()
    _status(platform, acme, "suspended")

    assert acme.get(f"/phone-numbers/{number['id']}").status_code == 200
    refused = acme.post("/phone-numbers", {"did_number": fresh_number()})

    assert (refused.status_code, refused.json["code"]) == (403, "tenant-suspended")
    assert (
        platform.api.patch(
            acme.url(f"/phone-numbers/{number['id']}"), {"label": "by operators"}
        ).status_code
        == 200
    )


def test_a_deleted_tenant_is_gone_for_all_but_operators(platform: Platform, acme: Tenant) -> None:
    number = acme.number()
    _status(platform, acme, "deleted")

    assert acme.get().status_code == 401
    assert platform.api.get(acme.url("/phone-numbers")).status_code == 404
    assert platform.api.get(acme.url()).json["status"] == "deleted"
    did = platform.api.get("/api/dids", did_number=number["did_number"]).json[0]
    assert did["state"] == "resting"


def test_a_restored_tenant_gets_its_numbers_back(
    platform: Platform, world: Factory, acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    world.run_jobs(acme)

    _status(platform, acme, "deleted")
    world.run_jobs(acme)
    assert number not in carrier.registered_numbers
    _status(platform, acme, "active")
    world.run_jobs(acme)

    assert number in carrier.registered_numbers
    assert acme.simulate(number)["status"] == "in_progress"


def test_a_number_lost_while_its_tenant_was_deleted_stays_lost(
    platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = acme.number()["did_number"]
    _status(platform, acme, "deleted")
    taken = platform.api.post(globex.url("/phone-numbers"), {"did_number": number})
    _status(platform, acme, "active")

    assert taken.status_code == 201
    owner = platform.api.get("/api/dids", did_number=number).json[0]["tenant_id"]
    assert owner == globex.id
    lost = acme.post("/simulations", {"to": number})
    assert lost.status_code == 404


def test_every_table_of_a_tenant_says_whose_it_is(acme: Tenant) -> None:
    with tenant_session(acme.ref) as session:
        found = session.scalar(text("SELECT id FROM tenant_self"))

    assert str(found) == acme.id
    assert schema.schema_name(acme.ref.id) == f"t_{acme.ref.id.hex}"
