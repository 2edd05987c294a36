"""The registry of numbers: one owner each, for the whole deployment."""

from dataclasses import replace
from datetime import timedelta

from flask import Flask
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Platform, Tenant, fresh_number
from vca.registry.number_registry import service as dids
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.session import public_connection, tenant_session


def _end_rest(number: str) -> None:
    with admin_db.public_session() as session:
        session.execute(
            text("UPDATE public.dids SET rests_until = now() WHERE did_number = :number"),
            {"number": number},
        )


def test_a_number_claimed_by_globex_is_refused_to_acme(acme: Tenant, globex: Tenant) -> None:
    number = globex.number()["did_number"]

    refused = acme.post("/phone-numbers", {"did_number": number})

    assert (refused.status_code, refused.json["code"]) == (409, "number-already-claimed")
    assert globex.id not in refused.text
    assert acme.get("/phone-numbers").json == []


def test_a_tenant_cannot_claim_its_own_number_twice(acme: Tenant) -> None:
    number = acme.number()["did_number"]

    assert acme.post("/phone-numbers", {"did_number": number}).status_code == 409


def test_a_number_given_back_rests_for_others(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    number = acme.number()
    assert acme.delete(f"/phone-numbers/{number['id']}").status_code == 204

    others = globex.post("/phone-numbers", {"did_number": number["did_number"]})
    own = acme.post("/phone-numbers", {"did_number": number["did_number"]})

    assert others.status_code == 409
    assert own.status_code == 201


def test_operators_may_end_a_rest(acme: Tenant, globex: Tenant, platform: Platform) -> None:
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    claimed = platform.api.post(globex.url("/phone-numbers"), {"did_number": number["did_number"]})

    assert claimed.status_code == 201


def test_a_rested_number_is_anybodys(acme: Tenant, globex: Tenant) -> None:
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")
    _end_rest(number["did_number"])

    assert globex.post("/phone-numbers", {"did_number": number["did_number"]}).status_code == 201


def test_where_claims_need_an_assignment_only_the_assignee_can_claim(
    app: Flask, acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    app.config["CLAIMS_ARE_OPEN"] = False
    number = fresh_number()
    unassigned = acme.post("/phone-numbers", {"did_number": number})
    assigned = platform.api.post("/api/dids", {"did_number": number, "tenant_id": acme.id})
    others = globex.post("/phone-numbers", {"did_number": number})
    own = acme.post("/phone-numbers", {"did_number": number})

    assert (unassigned.status_code, unassigned.json["code"]) == (403, "number-not-assigned")
    assert assigned.status_code == 201
    assert others.status_code == 409
    assert own.status_code == 201


def test_an_assigned_number_is_kept_for_its_assignee_where_claims_are_open(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    number = fresh_number()
    platform.api.post("/api/dids", {"did_number": number, "tenant_id": acme.id})

    assert globex.post("/phone-numbers", {"did_number": number}).status_code == 409
    assert acme.post("/phone-numbers", {"did_number": number}).status_code == 201


def test_assigning_says_what_is_wrong(acme: Tenant, globex: Tenant, platform: Platform) -> None:
    claimed = globex.number()["did_number"]
    nobody = "00000000-0000-4000-8000-000000000000"

    taken = platform.api.post("/api/dids", {"did_number": claimed, "tenant_id": acme.id})
    unknown = platform.api.post("/api/dids", {"did_number": fresh_number(), "tenant_id": nobody})

    assert taken.status_code == 409
    assert unknown.status_code == 400
    assert unknown.json["errors"][0]["pointer"] == "/tenant_id"


def test_a_claim_that_is_rolled_back_frees_the_number(acme: Tenant, globex: Tenant) -> None:
    number = fresh_number()

    broken = acme.post("/phone-numbers", {"did_number": number, "mode": "forward"})

    assert broken.status_code == 400
    assert globex.post("/phone-numbers", {"did_number": number}).status_code == 201


def test_the_length_of_a_rest_is_thirty_days(acme: Tenant, platform: Platform) -> None:
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    did = platform.api.get("/api/dids", did_number=number["did_number"]).json[0]

    assert did["state"] == "resting"
    assert timedelta(days=30) == dids.QUARANTINE
    assert did["rests_until"] > did["updated_at"]


def test_an_owner_comes_with_its_plan(acme: Tenant, platform: Platform) -> None:
    number = acme.number()["did_number"]
    platform.api.patch(acme.url(), {"plan": "growth"})

    with public_connection() as connection:
        called = dids.find_owner(connection, number=number)
    with tenant_session(acme.ref) as session:
        own = dids.find_tenant_number(session, number=number)

    assert called is not None
    assert called.plan == "growth"
    assert called.carriers == (ProviderAccountRef("generic"),)
    assert own == replace(called, carriers=())
