"""Races for what there is one of in the whole deployment; the database decides them."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from sqlalchemy import text

from tests.support.api import ApiResponse
from tests.support.concurrency import run_concurrently
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from vca.tenancy.session import public_session

MANY = 20


def _claims(
    world: Factory, tenant: Tenant, number: str, times: int
) -> list[Callable[[], ApiResponse]]:
    return [
        partial(world.api(tenant.key).post, tenant.url("/phone-numbers"), {"did_number": number})
        for _ in range(times)
    ]


def test_of_twenty_who_claim_one_number_at_once_one_has_it(
    world: Factory, platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = fresh_number()
    tenants = [acme, globex] * (MANY // 2)
    claims = [claim for tenant in tenants for claim in _claims(world, tenant, number, 1)]

    answers = run_concurrently(claims)

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: MANY - 1}
    assert {answer.json["code"] for answer in answers if answer.status_code == 409} == {
        "number-already-claimed"
    }
    [winner] = [
        tenant for tenant, answer in zip(tenants, answers, strict=True) if answer.status_code == 201
    ]
    kept = {tenant.id: len(tenant.get("/phone-numbers").json) for tenant in (acme, globex)}
    assert kept == {acme.id: int(winner is acme), globex.id: int(winner is globex)}
    [row] = platform.api.get("/api/dids", did_number=number).json
    assert (row["tenant_id"], row["state"]) == (winner.id, "claimed")


def test_a_number_that_is_given_back_and_claimed_at_once_has_one_owner_at_most(
    world: Factory, platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = acme.number()
    free = partial(world.api(acme.key).delete, acme.url(f"/phone-numbers/{number['id']}"))
    claims = _claims(world, globex, number["did_number"], 5)
    again = _claims(world, acme, number["did_number"], 5)

    answers = run_concurrently([free, *claims, *again])

    assert answers[0].status_code == 204
    assert {answer.status_code for answer in answers[1:6]} == {409}
    assert sum(answer.status_code == 201 for answer in answers[6:]) <= 1
    assert all(answer.status_code in (201, 409) for answer in answers[6:])
    [row] = platform.api.get("/api/dids", did_number=number["did_number"]).json
    kept = acme.get("/phone-numbers").json
    assert row["state"] == ("claimed" if kept else "resting")
    assert [it["id"] for it in kept] == [row["phone_number_id"]] * len(kept)


def test_of_twenty_who_create_a_tenant_under_one_external_id_at_once_one_does(
    world: Factory, platform: Platform
) -> None:
    external_id = uuid4().hex
    body = {"name": "Acme", "external_id": external_id}

    answers = run_concurrently(
        [partial(world.api(platform.key).post, "/api/tenants", body) for _ in range(MANY)]
    )

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: MANY - 1}
    assert {answer.json["code"] for answer in answers if answer.status_code == 409} == {
        "external-id-taken"
    }
    [tenant] = platform.api.get("/api/tenants", external_id=external_id).json
    assert platform.api.get(f"/api/tenants/{tenant['id']}/settings").status_code == 200


def test_tenants_that_are_made_at_once_are_all_whole(world: Factory, platform: Platform) -> None:
    def create() -> ApiResponse:
        api = world.api(platform.key)
        made = api.post("/api/tenants", {"name": "Acme"})
        return api.get(f"/api/tenants/{made.json['id']}/calls")

    answers = run_concurrently([create] * 10)

    assert [(answer.status_code, answer.json) for answer in answers] == [(200, [])] * 10
    without_schema = text(
        "SELECT count(*) FROM public.tenants WHERE to_regnamespace('t_' || replace(id::text,"
        " '-', '')) IS NULL"
    )
    with public_session() as session:
        assert session.scalar(without_schema) == 0


def test_of_those_who_assign_and_claim_one_number_at_once_one_wins(
    world: Factory, platform: Platform, acme: Tenant, globex: Tenant
) -> None:
    number = fresh_number()
    promise = {"did_number": number, "tenant_id": globex.id}
    assignments = [partial(world.api(platform.key).post, "/api/dids", promise) for _ in range(5)]

    answers = run_concurrently([*assignments, *_claims(world, acme, number, 5)])

    assert all(answer.status_code in (201, 409) for answer in answers)
    [row] = platform.api.get("/api/dids", did_number=number).json
    claimed = sum(answer.status_code == 201 for answer in answers[5:])
    assert (row["tenant_id"], row["state"], claimed) in [
        (acme.id, "claimed", 1),
        (globex.id, "assigned", 0),
    ]
