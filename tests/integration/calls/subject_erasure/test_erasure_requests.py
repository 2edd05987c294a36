"""Requests for exports and erasures: rejected ones, and who may send them."""

import pytest

from tests.support.erasure_fixture import ErasureSubject
from tests.support.factories import Factory, Platform, Tenant


def test_erasing_an_own_number_returns_409_and_another_tenants_number_202(
    acme: Tenant, globex: Tenant
) -> None:
    acme_number, globex_number = acme.number()["did_number"], globex.number()["did_number"]

    own_number_response = acme.post("/privacy/erase", {"number": acme_number})
    foreign_number_response = acme.post("/privacy/erase", {"number": globex_number})

    assert own_number_response.status_code == 409
    assert own_number_response.json["code"] == "own-number"
    assert foreign_number_response.status_code == 202


def test_a_suspended_tenant_can_export_and_erase(
    acme: Tenant, platform: Platform, world: Factory, erasure_subject: ErasureSubject
) -> None:
    platform.api.patch(acme.url(), {"status": "suspended"})

    for operation in ("export", "erase"):
        response = acme.post(f"/privacy/{operation}", {"number": erasure_subject.number})
        assert response.status_code == 202
    assert acme.patch("/settings", {}).status_code == 403


@pytest.mark.parametrize("scope", ["read", "content", "write"])
def test_an_export_and_an_erasure_require_the_scope_admin(
    acme: Tenant, world: Factory, erasure_subject: ErasureSubject, scope: str
) -> None:
    api = world.api(world.key(acme.id, scopes=[scope]))

    for operation in ("export", "erase"):
        response = api.post(acme.url(f"/privacy/{operation}"), {"number": erasure_subject.number})
        assert (response.status_code, response.json["code"]) == (403, "scope-missing")


@pytest.mark.parametrize("body", [{}, {"number": "0044"}, {"number": "+1"}, {"number": None}])
def test_an_invalid_number_returns_400(acme: Tenant, body: dict[str, object]) -> None:
    for operation in ("export", "erase"):
        response = acme.post(f"/privacy/{operation}", body)
        assert response.status_code == 400
        assert response.json["errors"][0]["pointer"] == "/number"
