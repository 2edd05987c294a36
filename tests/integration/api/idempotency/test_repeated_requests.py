"""`Idempotency-Key`: a repeated request is executed once and gets the same response."""

from typing import Any
from uuid import uuid4

from tests.integration.api.idempotency.conftest import (
    PROFILE,
    assert_error,
    assert_replayed,
    idempotency_rows,
    new_key_header,
)
from tests.support.api import Api
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant, assert_created, fresh_number
from tests.support.operations import Operation

TENANT_PATH = "/api/tenants/{tenant_id}"
IDEMPOTENT_OPERATIONS = {
    "POST /api/tenants",
    "POST /api/dids",
    "POST /api/api-keys",
    f"POST {TENANT_PATH}/phone-numbers",
    f"POST {TENANT_PATH}/phone-numbers/{{phone_number_id}}/register",
    f"POST {TENANT_PATH}/privacy/export",
    f"POST {TENANT_PATH}/privacy/erase",
    f"POST {TENANT_PATH}/ai-profiles",
    f"POST {TENANT_PATH}/api-keys",
    f"POST {TENANT_PATH}/calls",
    f"POST {TENANT_PATH}/calls/{{call_id}}/dtmf",
    f"POST {TENANT_PATH}/calls/{{call_id}}/replay",
    f"POST {TENANT_PATH}/calls/{{call_id}}/say",
    f"POST {TENANT_PATH}/calls/{{call_id}}/transfer",
    f"POST {TENANT_PATH}/simulations",
    f"POST {TENANT_PATH}/telephony-accounts",
    *(
        f"POST {owner}/webhooks{path}"
        for owner in ("/api", TENANT_PATH)
        for path in (
            "",
            "/{webhook_id}/test",
            "/{webhook_id}/replay",
            "/{webhook_id}/deliveries/{delivery_id}/replay",
        )
    ),
}


def test_exactly_the_listed_operations_take_an_idempotency_key(
    all_operations: list[Operation],
) -> None:
    operation_names = {
        operation.name for operation in all_operations if "Idempotency-Key" in operation.headers
    }

    assert operation_names == IDEMPOTENT_OPERATIONS


def test_a_repeated_request_is_executed_once_and_gets_the_same_bytes(
    acme: Tenant, platform: Platform, answered_number: str
) -> None:
    number, external_id = fresh_number(), uuid4().hex
    tenant = {"name": "Initech", "external_id": external_id}
    number_assignment = {"did_number": fresh_number(), "tenant_id": acme.id}
    cases: list[tuple[Api, str, dict[str, Any]]] = [
        (acme.api, acme.url("/phone-numbers"), {"did_number": number, "label": "Ünïcode"}),
        (acme.api, acme.url("/ai-profiles"), PROFILE),
        (acme.api, acme.url("/simulations"), {"to": answered_number}),
        (platform.api, "/api/tenants", tenant),
        (platform.api, "/api/dids", number_assignment),
    ]

    for api, url, body in cases:
        key = new_key_header()
        first, repeated, third = (api.post(url, body, headers=dict(key)) for _ in range(3))
        assert first.status_code == 201, first.text
        assert_replayed(first, repeated)
        assert_replayed(first, third)

    assert [phone_number["did_number"] for phone_number in acme.get("/phone-numbers").json].count(
        number
    ) == 1
    assert (
        len(acme.get("/ai-profiles").json) == 2
    )  # one for the answered number, one from this test
    assert len(acme.get("/calls").json) == 1
    assert len(platform.api.get("/api/tenants", external_id=external_id).json) == 1


def test_a_key_with_different_bytes_in_the_body_returns_409(acme: Tenant) -> None:
    key = new_key_header()
    url, data = acme.url("/ai-profiles"), b'{"system_prompt": "You answer."}'
    headers = {**key, "Content-Type": "application/json"}
    assert acme.api.send("POST", url, data=data, headers=headers).status_code == 201

    for other in (data + b" ", b'{"system_prompt": "You sell."}', b"nonsense"):
        response = acme.api.send("POST", url, data=other, headers=headers)
        assert_error(response, "idempotency-key-reused")

    assert len(acme.get("/ai-profiles").json) == 1


def test_a_key_that_another_operation_used_returns_409(acme: Tenant) -> None:
    key = new_key_header()
    assert_created(acme.post("/ai-profiles", PROFILE, headers=dict(key)))

    response = acme.post("/phone-numbers", {"did_number": fresh_number()}, headers=dict(key))

    assert_error(response, "idempotency-key-reused")
    assert acme.get("/phone-numbers").json == []


def test_a_rejected_request_leaves_no_row_and_its_key_can_be_used_again(
    acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    key, claimed_number = new_key_header(), globex.number()
    body = {"did_number": claimed_number["did_number"]}
    invalid = acme.post("/phone-numbers", {"did_number": 7}, headers=dict(key))
    assert invalid.status_code == 400
    first = acme.post("/phone-numbers", body, headers=dict(key))
    assert_error(first, "number-already-claimed")
    assert idempotency_rows(db_snapshot, acme.ref.schema, key) == []

    profile = acme.post("/ai-profiles", PROFILE, headers=dict(key))

    assert profile.status_code == 201  # also for another operation


def test_other_operations_ignore_the_header(acme: Tenant) -> None:
    key, profile = new_key_header(), acme.profile()
    url = acme.url(f"/ai-profiles/{profile['id']}")

    for greeting in ("One.", "Two."):
        response = acme.api.send("PATCH", url, json_body={"greeting": greeting}, headers=dict(key))
        assert response.json["greeting"] == greeting
        assert "Idempotency-Replayed" not in response.headers
    assert acme.api.send("GET", url, headers={"Idempotency-Key": "é"}).status_code == 200


def test_a_repeated_request_with_a_revoked_api_key_returns_401(
    acme: Tenant, world: Factory
) -> None:
    key, api_key = new_key_header(), world.key(acme.id)
    client = world.api(api_key)
    assert client.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key)).status_code == 201
    key_id = client.get("/api/me").json["id"]

    acme.delete(f"/api-keys/{key_id}")

    response = client.post(acme.url("/ai-profiles"), PROFILE, headers=dict(key))
    assert response.status_code == 401


def test_a_repeated_request_for_a_key_returns_its_id_and_never_its_secret(
    acme: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    for api, url in ((acme.api, acme.url("/api-keys")), (platform.api, "/api/api-keys")):
        key, name = new_key_header(), f"once {uuid4().hex}"
        first = assert_created(api.post(url, {"name": name}, headers=dict(key)))

        for _ in range(2):
            repeated = api.post(url, {"name": name}, headers=dict(key))
            assert_error(repeated, "already-created")
            assert repeated.json["id"] == first["id"]
            assert first["key"] not in repeated.text
            assert repeated.headers["Idempotency-Replayed"] == "true"

        [row] = idempotency_rows(db_snapshot, "public", key)
        assert first["id"] in str(row)
        assert first["key"][13:] not in str(row)
        named_key_sql = "SELECT id FROM public.api_keys WHERE name = %s"
        assert [str(row[0]) for row in db_snapshot.rows(named_key_sql, name)] == [first["id"]]
