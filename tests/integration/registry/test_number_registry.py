"""Tests of the number registry, in which each number has one owner."""

from dataclasses import replace
from datetime import datetime, timedelta

from flask import Flask
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Platform, Tenant, fresh_number
from tests.support.services import app_services
from vca.registry.number_registry import service as number_registry
from vca.telephony.types import ProviderAccountRef
from vca.tenancy.session import public_connection, tenant_session


def _end_quarantine(number: str) -> None:
    with admin_db.public_session() as session:
        session.execute(
            text("UPDATE public.dids SET rests_until = now() WHERE did_number = :number"),
            {"number": number},
        )


def test_a_tenant_cannot_claim_a_number_of_another_tenant(acme: Tenant, globex: Tenant) -> None:
    number = globex.number()["did_number"]

    response = acme.post("/phone-numbers", {"did_number": number})

    assert (response.status_code, response.json["code"]) == (409, "number-already-claimed")
    assert globex.id not in response.text
    assert acme.get("/phone-numbers").json == []


def test_a_tenant_cannot_claim_its_own_number_twice(acme: Tenant) -> None:
    number = acme.number()["did_number"]

    assert acme.post("/phone-numbers", {"did_number": number}).status_code == 409


def test_only_the_last_tenant_can_claim_a_number_in_quarantine(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    number = acme.number()
    assert acme.delete(f"/phone-numbers/{number['id']}").status_code == 204

    globex_response = globex.post("/phone-numbers", {"did_number": number["did_number"]})
    acme_response = acme.post("/phone-numbers", {"did_number": number["did_number"]})

    assert globex_response.status_code == 409
    assert acme_response.status_code == 201


def test_the_platform_can_claim_a_number_in_quarantine_for_any_tenant(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    response = platform.api.post(globex.url("/phone-numbers"), {"did_number": number["did_number"]})

    assert response.status_code == 201


def test_any_tenant_can_claim_a_number_after_its_quarantine(acme: Tenant, globex: Tenant) -> None:
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")
    _end_quarantine(number["did_number"])

    assert globex.post("/phone-numbers", {"did_number": number["did_number"]}).status_code == 201


def test_only_the_assignee_can_claim_when_claims_require_an_assignment(
    app: Flask, acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    app.config["CLAIMS_ARE_OPEN"] = False
    number = fresh_number()
    unassigned = acme.post("/phone-numbers", {"did_number": number})
    assigned = platform.api.post("/api/dids", {"did_number": number, "tenant_id": acme.id})
    globex_response = globex.post("/phone-numbers", {"did_number": number})
    acme_response = acme.post("/phone-numbers", {"did_number": number})

    assert (unassigned.status_code, unassigned.json["code"]) == (403, "number-not-assigned")
    assert assigned.status_code == 201
    assert globex_response.status_code == 409
    assert acme_response.status_code == 201


def test_only_the_assignee_can_claim_an_assigned_number_when_claims_are_open(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    number = fresh_number()
    platform.api.post("/api/dids", {"did_number": number, "tenant_id": acme.id})

    assert globex.post("/phone-numbers", {"did_number": number}).status_code == 409
    assert acme.post("/phone-numbers", {"did_number": number}).status_code == 201


def test_an_invalid_assignment_is_rejected_with_the_reason(
    acme: Tenant, globex: Tenant, platform: Platform
) -> None:
    claimed_number = globex.number()["did_number"]
    unknown_id = "00000000-0000-4000-8000-000000000000"

    conflict = platform.api.post("/api/dids", {"did_number": claimed_number, "tenant_id": acme.id})
    unknown_tenant = platform.api.post(
        "/api/dids", {"did_number": fresh_number(), "tenant_id": unknown_id}
    )

    assert conflict.status_code == 409
    assert unknown_tenant.status_code == 400
    assert unknown_tenant.json["errors"][0]["pointer"] == "/tenant_id"


def test_a_number_is_free_after_a_failed_claim(acme: Tenant, globex: Tenant) -> None:
    number = fresh_number()

    invalid = acme.post("/phone-numbers", {"did_number": number, "mode": "forward"})

    assert invalid.status_code == 400
    assert globex.post("/phone-numbers", {"did_number": number}).status_code == 201


def test_the_quarantine_lasts_thirty_days(acme: Tenant, platform: Platform) -> None:
    number = acme.number()
    acme.delete(f"/phone-numbers/{number['id']}")

    did = platform.api.get("/api/dids", did_number=number["did_number"]).json[0]

    assert did["state"] == "resting"
    assert timedelta(days=30) == number_registry.QUARANTINE
    released_at, rests_until = (
        datetime.fromisoformat(did[name]) for name in ("updated_at", "rests_until")
    )
    assert rests_until - released_at == timedelta(days=30)


def test_the_owner_of_a_number_includes_the_plan_of_the_tenant(
    acme: Tenant, platform: Platform
) -> None:
    number = acme.number()["did_number"]
    platform.api.patch(acme.url(), {"plan": "growth"})

    with public_connection(database=app_services().database) as connection:
        owner = number_registry.find_owner(connection, number=number)
    with tenant_session(acme.ref, database=app_services().database) as session:
        own_number_owner = number_registry.find_tenant_number(session, number=number)

    assert owner is not None
    assert owner.plan == "growth"
    assert owner.carriers == (ProviderAccountRef("generic"),)
    assert own_number_owner == replace(owner, carriers=())


def test_claims_and_assignments_of_a_number_in_another_format_are_refused(
    acme: Tenant, platform: Platform
) -> None:
    for number in ("19245550123", "+0123456789", "+1 924 555 0123", "+123456", "tel:+19245550123"):
        claim = platform.api.post(acme.url("/phone-numbers"), {"did_number": number})
        assignment = platform.api.post("/api/dids", {"did_number": number, "tenant_id": acme.id})

        for response in (claim, assignment):
            assert response.status_code == 400
            assert response.json["errors"][0]["pointer"] == "/did_number"
