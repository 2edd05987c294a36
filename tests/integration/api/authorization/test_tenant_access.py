"""Access of platform keys and tenant keys, also to suspended and deleted tenants."""

from uuid import uuid4

from tests.integration.api.authorization.operation_requests import (
    AUDIT_TABLE,
    needed_key,
    operations_with_key,
    send_operation,
    status_and_code,
    unknown_ids,
)
from tests.support.api import ApiResponse
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, assert_created
from tests.support.operations import Operation
from tests.support.populated_tenant import PopulatedTenant

TENANT_PATH = "/api/tenants/{tenant_id}"
# Writing operations that the key of a suspended tenant may call: they protect data or change
# nothing.
ALLOWED_WHILE_SUSPENDED = {
    f"DELETE {TENANT_PATH}/api-keys/{{key_id}}",
    f"POST {TENANT_PATH}/privacy/export",
    f"POST {TENANT_PATH}/privacy/erase",
    f"POST {TENANT_PATH}/routing/explain",
}
# What a platform key may do with a deleted tenant.
ALLOWED_ON_DELETED_TENANT = {f"GET {TENANT_PATH}", f"PATCH {TENANT_PATH}"}

# Operations that open a way to dial.
DIALLING_PATHS = ("/calls", "/webrtc/credentials")


def test_platform_operations_reject_the_keys_of_tenants(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    db_snapshot: SnapshotChecker,
) -> None:
    before = (
        db_snapshot.checksum(populated_acme.tenant.id),
        db_snapshot.checksum(populated_globex.tenant.id),
    )
    platform_only = [
        operation for operation in operations_with_key(all_operations) if needed_key(operation)[0]
    ]

    for operation in platform_only:
        response = send_operation(populated_acme.tenant.api, operation, populated_acme)

        assert status_and_code(response) == (403, "platform-key-needed"), operation.name
        assert not populated_globex.leaked_secrets(response.text)

    assert len(platform_only) >= 8
    assert {operation.name for operation in platform_only} == {
        operation.name
        for operation in operations_with_key(all_operations)
        if not operation.path.startswith(f"{TENANT_PATH}/")
        and operation.name not in (f"GET {TENANT_PATH}", "GET /api/me")
    }
    assert (
        db_snapshot.checksum(populated_acme.tenant.id),
        db_snapshot.checksum(populated_globex.tenant.id),
    ) == before


def _is_accepted(operation: Operation, response: ApiResponse) -> bool:
    """Return whether the request was authorized.

    A transfer returns 409, because no profile contains the target of the example.
    """
    target_is_missing = operation.path.endswith("/transfer") and response.status_code == 409
    return target_is_missing or response.status_code in (200, 201, 202, 404)


def test_a_platform_key_may_call_every_operation_of_a_tenant(
    all_operations: list[Operation], populated_acme: PopulatedTenant, platform: Platform
) -> None:
    for operation in operations_with_key(all_operations):
        if operation.path.startswith(TENANT_PATH):
            response = send_operation(
                platform.api, operation, populated_acme, unknown_ids(populated_acme)
            )

            assert _is_accepted(operation, response), f"{operation.name}: {response.text}"


def test_every_key_can_get_its_own_details(
    populated_acme: PopulatedTenant, platform: Platform, world: Factory
) -> None:
    read_key = world.key(populated_acme.tenant.id, scopes=["read"])

    assert populated_acme.tenant.api.get("/api/me").json["tenant_id"] == populated_acme.tenant.id
    assert platform.api.get("/api/me").json["tenant_id"] is None
    assert world.api(read_key).get("/api/me").json["scopes"] == ["read"]


def test_the_keys_of_a_suspended_tenant_can_read_and_not_write(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> None:
    platform.api.patch(populated_acme.tenant.url(), {"status": "suspended"})
    before = db_snapshot.checksum(populated_acme.tenant.id, except_table=AUDIT_TABLE)
    rejected_count = 0

    for operation in operations_with_key(all_operations):
        if (
            not operation.path.startswith(f"{TENANT_PATH}/")
            and operation.name != f"GET {TENANT_PATH}"
        ):
            continue
        if operation.method == "GET":
            assert (
                send_operation(populated_acme.tenant.api, operation, populated_acme).status_code
                == 200
            ), operation.name
        elif operation.name not in ALLOWED_WHILE_SUSPENDED:
            response = send_operation(populated_acme.tenant.api, operation, populated_acme)
            assert status_and_code(response) == (403, "tenant-suspended"), operation.name
            rejected_count += 1

    assert rejected_count >= 12
    assert db_snapshot.checksum(populated_acme.tenant.id, except_table=AUDIT_TABLE) == before
    assert populated_acme.tenant.api.get("/api/me").status_code == 200


def test_a_suspended_tenant_can_revoke_keys_and_explain_routing(
    populated_acme: PopulatedTenant, platform: Platform, world: Factory
) -> None:
    leaked_key = assert_created(populated_acme.tenant.post("/api-keys", {"name": "stolen"}))
    platform.api.patch(populated_acme.tenant.url(), {"status": "suspended"})

    revocation = populated_acme.tenant.delete(f"/api-keys/{leaked_key['id']}")
    route_response = populated_acme.tenant.post(
        "/routing/explain", {"to": populated_acme.did_number}
    )

    assert revocation.status_code == 204
    assert world.api(leaked_key["key"]).get("/api/me").status_code == 401
    assert route_response.json["end_reason"] == "tenant_suspended"


def test_a_platform_key_can_write_to_a_suspended_tenant(
    all_operations: list[Operation], populated_acme: PopulatedTenant, platform: Platform
) -> None:
    platform.api.patch(populated_acme.tenant.url(), {"status": "suspended"})
    write_count = 0

    for operation in operations_with_key(all_operations):
        if operation.path.startswith(f"{TENANT_PATH}/") and operation.method != "GET":
            response = send_operation(
                platform.api, operation, populated_acme, unknown_ids(populated_acme)
            )

            if operation.path.endswith(DIALLING_PATHS):
                assert response.json["code"] == "dialling-refused", operation.name
            elif not operation.path.endswith("/simulations"):  # 409: no agent answers
                assert response.status_code in (200, 201, 202, 404), (
                    f"{operation.name}: {response.text}"
                )
            write_count += 1

    assert write_count >= 12


def test_every_operation_under_a_deleted_tenant_returns_404_or_401(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> None:
    platform.api.patch(populated_acme.tenant.url(), {"status": "deleted"})
    before = db_snapshot.checksum(populated_acme.tenant.id)
    unknown_problem = platform.api.get(f"/api/tenants/{uuid4()}/calls").json

    for operation in operations_with_key(all_operations):
        if (
            not operation.path.startswith(TENANT_PATH)
            or operation.name in ALLOWED_ON_DELETED_TENANT
        ):
            continue
        response = send_operation(platform.api, operation, populated_acme)
        assert response.status_code == 404, operation.name
        assert {**response.json, "request_id": None} == {**unknown_problem, "request_id": None}
        assert (
            send_operation(populated_acme.tenant.api, operation, populated_acme).status_code == 401
        ), operation.name

    assert db_snapshot.checksum(populated_acme.tenant.id) == before
    assert platform.api.get(populated_acme.tenant.url()).json["status"] == "deleted"
    assert populated_acme.tenant.get("").status_code == 401
    assert platform.api.patch(populated_acme.tenant.url(), {"status": "active"}).status_code == 200
    assert populated_acme.tenant.get("/calls").status_code == 200
