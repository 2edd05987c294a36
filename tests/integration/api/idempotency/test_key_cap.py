"""The cap of stored requests with an Idempotency-Key."""

import pytest

from tests.integration.api.idempotency.conftest import (
    PROFILE,
    assert_error,
    assert_replayed,
    new_key_header,
)
from tests.support.caps import set_cap
from tests.support.factories import Factory, Platform, Tenant, fresh_number
from vca.registry.caps import CAPS
from vca.registry.idempotency import service


@pytest.fixture
def three_keys(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow a tenant three keys, and count all of them."""
    monkeypatch.setattr(service, "SAMPLE_BITS", 0)
    set_cap(monkeypatch, "idempotency_keys", 3)


@pytest.mark.usefixtures("three_keys")
def test_a_new_key_over_the_cap_is_refused_and_nothing_is_executed(
    acme: Tenant, globex: Tenant
) -> None:
    keys = [new_key_header() for _ in range(3)]
    first, *_ = [acme.post("/ai-profiles", PROFILE, headers=key) for key in keys]

    plain_response = acme.post("/ai-profiles", PROFILE, headers=new_key_header())
    calling_out_response = acme.post(
        "/phone-numbers", {"did_number": fresh_number()}, headers=new_key_header()
    )

    for response in (plain_response, calling_out_response):
        assert_error(response, "limit-reached")
        assert response.json["limit"] == "idempotency_keys"
    assert len(acme.get("/ai-profiles").json) == 3
    assert acme.get("/phone-numbers").json == []
    assert_replayed(first, acme.post("/ai-profiles", PROFILE, headers=keys[0]))
    assert acme.post("/ai-profiles", PROFILE).status_code == 201  # without a key
    assert globex.post("/ai-profiles", PROFILE, headers=new_key_header()).status_code == 201


@pytest.mark.usefixtures("three_keys")
def test_the_platforms_own_keys_have_no_cap(platform: Platform) -> None:
    for _ in range(5):
        body = {"name": "Acme"}
        response = platform.api.post("/api/tenants", body, headers=new_key_header())
        assert response.status_code == 201


def test_the_number_of_keys_is_estimated_from_a_sample(acme: Tenant, world: Factory) -> None:
    def insert_keys(count: int) -> None:
        world.sql(
            acme,
            "INSERT INTO idempotency_keys (id, tenant_id, api_key, key, request_hash)"
            " SELECT gen_random_uuid(), s.tenant_id, 'vca_x', gen_random_uuid()::text, ''"
            f" FROM settings s, generate_series(1, {count})",
        )

    maximum = CAPS["idempotency_keys"].maximum
    insert_keys(maximum // 2)
    accepted = acme.post("/ai-profiles", PROFILE, headers=new_key_header())
    insert_keys(maximum)
    rejected_response = acme.post("/ai-profiles", PROFILE, headers=new_key_header())

    assert accepted.status_code == 201
    assert_error(rejected_response, "limit-reached")
