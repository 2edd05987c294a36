"""Concurrent claims of what is unique in the deployment: numbers and external ids of tenants."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from sqlalchemy import text

from tests.support.api import ApiResponse
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from tests.support.services import app_services
from vca.tenancy.session import public_session

REQUEST_COUNT = 20


def _claim_requests(
    world: Factory, tenant: Tenant, number: str, count: int
) -> list[Callable[[], ApiResponse]]:
    return [
        partial(world.api(tenant.key).post, tenant.url("/phone-numbers"), {"did_number": number})
        for _ in range(count)
    ]


def test_one_of_twenty_concurrent_claims_of_a_number_succeeds(
    world: Factory, platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = fresh_number()
    tenants = [acme, globex] * (REQUEST_COUNT // 2)
    claims = [claim for tenant in tenants for claim in _claim_requests(world, tenant, number, 1)]

    responses = run_concurrently(claims)

    status_counts = Counter(response.status_code for response in responses)
    assert status_counts == {201: 1, 409: REQUEST_COUNT - 1}
    assert {response.json["code"] for response in responses if response.status_code == 409} == {
        "number-already-claimed"
    }
    [winner] = [
        tenant
        for tenant, response in zip(tenants, responses, strict=True)
        if response.status_code == 201
    ]
    number_counts = {tenant.id: len(tenant.get("/phone-numbers").json) for tenant in (acme, globex)}
    assert number_counts == {acme.id: int(winner is acme), globex.id: int(winner is globex)}
    [row] = platform.api.get("/api/dids", did_number=number).json
    assert (row["tenant_id"], row["state"]) == (winner.id, "claimed")


def test_a_number_released_and_claimed_concurrently_has_at_most_one_owner(
    world: Factory, platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = acme.number()
    release = partial(world.api(acme.key).delete, acme.url(f"/phone-numbers/{number['id']}"))
    requests: list[Callable[[], ApiResponse]] = [
        release,
        *_claim_requests(world, globex, number["did_number"], 5),
        *_claim_requests(world, acme, number["did_number"], 5),
    ]

    responses = run_concurrently(requests)

    assert responses[0].status_code == 204
    assert {response.status_code for response in responses[1:6]} == {409}
    assert sum(response.status_code == 201 for response in responses[6:]) <= 1
    assert all(response.status_code in (201, 409) for response in responses[6:])
    [row] = platform.api.get("/api/dids", did_number=number["did_number"]).json
    acme_numbers = acme.get("/phone-numbers").json
    assert row["state"] == ("claimed" if acme_numbers else "resting")
    assert [number["id"] for number in acme_numbers] == [row["phone_number_id"]] * len(acme_numbers)


def test_one_of_twenty_concurrently_created_tenants_gets_the_external_id(
    world: Factory, platform: Platform
) -> None:
    external_id = uuid4().hex
    body = {"name": "Acme", "external_id": external_id}

    responses = run_concurrently(
        [partial(world.api(platform.key).post, "/api/tenants", body) for _ in range(REQUEST_COUNT)]
    )

    status_counts = Counter(response.status_code for response in responses)
    assert status_counts == {201: 1, 409: REQUEST_COUNT - 1}
    assert {response.json["code"] for response in responses if response.status_code == 409} == {
        "external-id-taken"
    }
    [tenant] = platform.api.get("/api/tenants", external_id=external_id).json
    assert platform.api.get(f"/api/tenants/{tenant['id']}/settings").status_code == 200


def test_every_concurrently_created_tenant_has_its_schema(
    world: Factory, platform: Platform
) -> None:
    def create_tenant_and_list_calls() -> ApiResponse:
        api = world.api(platform.key)
        tenant = api.post("/api/tenants", {"name": "Acme"}).json
        return api.get(f"/api/tenants/{tenant['id']}/calls")

    responses = run_concurrently([create_tenant_and_list_calls] * 10)

    assert [(response.status_code, response.json) for response in responses] == [(200, [])] * 10
    count_without_schema = text(
        "SELECT count(*) FROM public.tenants WHERE to_regnamespace('t_' || replace(id::text,"
        " '-', '')) IS NULL"
    )
    with public_session(database=app_services().database) as session:
        assert session.scalar(count_without_schema) == 0


def test_either_the_assignment_or_the_claim_of_a_number_succeeds(
    world: Factory, platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = fresh_number()
    assignment = {"did_number": number, "tenant_id": globex.id}
    requests: list[Callable[[], ApiResponse]] = [
        *(partial(world.api(platform.key).post, "/api/dids", assignment) for _ in range(5)),
        *_claim_requests(world, acme, number, 5),
    ]

    responses = run_concurrently(requests)

    assert all(response.status_code in (201, 409) for response in responses)
    [row] = platform.api.get("/api/dids", did_number=number).json
    claim_count = sum(response.status_code == 201 for response in responses[5:])
    assert (row["tenant_id"], row["state"], claim_count) in [
        (acme.id, "claimed", 1),
        (globex.id, "assigned", 0),
    ]
