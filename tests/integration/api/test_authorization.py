"""Authorization: keys, scopes, platform and tenant keys, suspended and deleted tenants.

The tests read the operations from the OpenAPI document, so they include future operations.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from tests.support.api import Api, ApiResponse
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Platform, Tenant, assert_created
from tests.support.operations import Operation, build_body
from tests.support.populated_tenant import PopulatedTenant, body_values
from vca.kit import json
from vca.registry.api_keys import service as api_keys
from vca.registry.api_keys.models import SCOPES
from vca.tenancy.session import public_session

TENANT_PATH = "/api/tenants/{tenant_id}"
_NEEDED_KEY = re.compile(r"Needs a (platform )?key with scope `(\w+)`")
# Writing operations that the key of a suspended tenant may call: they protect data or change
# nothing.
ALLOWED_WHILE_SUSPENDED = {
    f"DELETE {TENANT_PATH}/api-keys/{{key_id}}",
    f"POST {TENANT_PATH}/privacy/export",
    f"POST {TENANT_PATH}/privacy/erase",
    f"POST {TENANT_PATH}/routing/explain",
}
# Reading content inserts audit entries, which do not count as a change.
AUDIT_TABLE = "audit_entries"
# What a platform key may do with a deleted tenant.
ALLOWED_ON_DELETED_TENANT = {f"GET {TENANT_PATH}", f"PATCH {TENANT_PATH}"}


def _needed_key(operation: Operation) -> tuple[bool, str | None]:
    """Return (whether a platform key is needed, the scope) from the document."""
    match = _NEEDED_KEY.search(operation.specification.get("description", ""))
    return (bool(match[1]), match[2]) if match else (False, None)


def _operations_with_key(catalogue: list[Operation]) -> list[Operation]:
    return [operation for operation in catalogue if operation.needs_key]


def _send(
    api: Api,
    operation: Operation,
    populated_tenant: PopulatedTenant,
    ids: dict[str, str] | None = None,
    *,
    key: str | None = None,
) -> ApiResponse:
    """Send the operation with a valid body."""
    body = (
        build_body(operation, body_values(populated_tenant), as_platform=False)
        if operation.fields
        else None
    )
    data = json.dumps(body) if body is not None else None
    headers = {"Content-Type": "application/json"} if data else {}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    url = operation.url({**populated_tenant.ids, **(ids or {})})
    return api.send(operation.method, url, data=data, headers=headers)


def _unknown_ids(populated_tenant: PopulatedTenant) -> dict[str, str]:
    """Return ids that do not exist in the tenant, so that an accepted request changes nothing."""
    return {name: str(uuid4()) for name in populated_tenant.ids if name != "tenant_id"}


def _status_and_code(response: ApiResponse) -> tuple[int, str | None]:
    return response.status_code, response.json["code"] if response.status_code >= 400 else None


# --- Keys -------------------------------------------------------------------------------------


def _unknown_key(world: Factory, tenant_id: str | None) -> str:
    """Return a key with a correct checksum that is not stored."""
    with public_session() as session:
        _, key = api_keys.create(session, name="x", tenant_id=None, pepper="any")
        session.rollback()
    return key


def _expired_key(world: Factory, tenant_id: str | None) -> str:
    return world.key(tenant_id, expires_at=datetime.now(UTC) - timedelta(seconds=1))


def _revoked_key(world: Factory, tenant_id: str | None) -> str:
    key = world.key(tenant_id)
    key_details = world.api(key).get("/api/me").json
    with public_session() as session:
        api_keys.revoke(
            session,
            tenant_id=UUID(tenant_id) if tenant_id else None,
            key_id=UUID(key_details["id"]),
            now=datetime.now(UTC),
        )
    return key


def _key_of_other_pepper(world: Factory, tenant_id: str | None) -> str:
    with public_session() as session:
        _, key = api_keys.create(
            session,
            name="x",
            tenant_id=UUID(tenant_id) if tenant_id else None,
            pepper="a pepper that this deployment does not know",
        )
    return key


def _key_with_other_secret(world: Factory, tenant_id: str | None) -> str:
    """Return the prefix of one key with the secret of another, and a correct checksum."""
    first_key, second_key = world.key(tenant_id), world.key(tenant_id)
    text = first_key[:13] + second_key[13:46]
    return f"{text}{api_keys._checksum(text[:-1])}"


BAD_KEYS: dict[str, Callable[[Factory, str | None], str | None]] = {
    "none": lambda world, tenant_id: None,
    "empty": lambda world, tenant_id: "",
    "malformed": lambda world, tenant_id: "vca_not-a-key",
    "cut": lambda world, tenant_id: world.key(tenant_id)[:-1],
    "wrong checksum": lambda world, tenant_id: _with_wrong_checksum(world.key(tenant_id)),
    "unknown": _unknown_key,
    "other secret": _key_with_other_secret,
    "expired": _expired_key,
    "revoked": _revoked_key,
    "other pepper": _key_of_other_pepper,
}


def _with_wrong_checksum(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def test_every_bad_key_gets_the_same_response(
    world: Factory, acme: Tenant, platform: Platform
) -> None:
    problems = []
    for kind, create_bad_key in BAD_KEYS.items():
        for owner_id, path in (
            (acme.id, acme.url("/calls")),
            (None, "/api/tenants"),
            (None, "/api/me"),
        ):
            response = world.api(create_bad_key(world, owner_id)).get(path)

            assert response.status_code == 401, kind
            assert response.headers["WWW-Authenticate"] == "Bearer"
            problems.append({**response.json, "request_id": None})
    deleted = world.tenant("Deleted")
    platform.api.patch(deleted.url(), {"status": "deleted"})
    for path in (deleted.url("/calls"), "/api/me"):
        problems.append({**deleted.api.get(path).json, "request_id": None})

    assert all(problem == problems[0] for problem in problems)
    assert problems[0]["code"] == "unauthorized"


def test_of_these_bad_keys_only_the_wrong_checksum_is_malformed(
    world: Factory, acme: Tenant
) -> None:
    assert api_keys._is_well_formed(_key_with_other_secret(world, acme.id))
    assert api_keys._is_well_formed(_unknown_key(world, None))
    assert not api_keys._is_well_formed(_with_wrong_checksum(world.key(None)))


def test_an_operation_returns_401_without_a_key_only_if_it_needs_one(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    anonymous: Api,
    db_snapshot: SnapshotChecker,
) -> None:
    before = db_snapshot.write_markers(populated_acme.tenant.id)

    for operation in all_operations:
        if operation.path.startswith("/telephony/"):
            continue  # carriers sign these requests
        response = _send(anonymous, operation, populated_acme)
        assert (response.status_code == 401) is operation.needs_key, operation.name
        if operation.method == "GET":
            head = anonymous.send("HEAD", operation.url(populated_acme.ids))
            assert head.status_code == response.status_code

    assert db_snapshot.write_markers(populated_acme.tenant.id) == before


def test_a_revoked_key_is_rejected_from_the_next_request(acme: Tenant, world: Factory) -> None:
    new = assert_created(acme.post("/api-keys", {"name": "short-lived"}))
    client = world.api(new["key"])
    assert client.get(acme.url("/calls")).status_code == 200

    revocation = acme.delete(f"/api-keys/{new['id']}")

    assert revocation.status_code == 204
    assert client.get(acme.url("/calls")).status_code == 401
    assert acme.delete(f"/api-keys/{new['id']}").status_code == 204  # repeated


def test_a_key_can_revoke_itself(acme: Tenant) -> None:
    key_id = acme.api.get("/api/me").json["id"]

    assert acme.delete(f"/api-keys/{key_id}").status_code == 204

    assert acme.get("/calls").status_code == 401


def test_a_key_is_rejected_from_the_moment_it_expires(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key = world.key(acme.id, expires_at=datetime.now(UTC) + timedelta(hours=1))
    client = world.api(key)
    assert client.get(acme.url("/calls")).status_code == 200

    db_snapshot.rows("UPDATE public.api_keys SET expires_at = now() WHERE prefix = %s", key[:12])

    assert client.get(acme.url("/calls")).status_code == 401


def test_a_key_of_an_old_pepper_is_accepted_and_rehashed_with_the_newest(
    app: Flask, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    old_pepper = app.config["PEPPERS"][0]
    key_hash_sql = "SELECT key_hash FROM public.api_keys WHERE prefix = %s"
    assert acme.get("/calls").status_code == 200  # stores the time of use; later requests do not
    before = db_snapshot.rows(key_hash_sql, acme.key[:12])

    app.config["PEPPERS"] = ("a new pepper in front of the old one", old_pepper)
    assert acme.get("/calls").status_code == 200
    assert db_snapshot.rows(key_hash_sql, acme.key[:12]) != before
    app.config["PEPPERS"] = ("a new pepper in front of the old one",)
    assert acme.get("/calls").status_code == 200
    app.config["PEPPERS"] = (old_pepper,)
    assert acme.get("/calls").status_code == 401


def test_the_first_use_of_a_key_is_stored_and_later_uses_every_ten_minutes(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    key = world.key(acme.id)
    client = world.api(key)

    def use_key(last_use_ago: str | None) -> datetime:
        set_last_used = (
            "UPDATE public.api_keys SET last_used_at = now() - %s::interval WHERE prefix = %s"
        )
        db_snapshot.rows(set_last_used, last_use_ago, key[:12])
        assert client.get(acme.url("/calls")).status_code == 200
        last_used_at: datetime
        ((last_used_at,),) = db_snapshot.rows(
            "SELECT last_used_at FROM public.api_keys WHERE prefix = %s", key[:12]
        )
        return last_used_at

    first_use, after_nine_minutes, after_eleven_minutes = (
        use_key(last_use_ago) for last_use_ago in (None, "9 min", "11 min")
    )

    now = datetime.now(UTC)
    assert now - first_use < timedelta(minutes=1)
    assert timedelta(minutes=8) < now - after_nine_minutes < timedelta(minutes=10)
    assert now - after_eleven_minutes < timedelta(minutes=1)


# --- Scopes -----------------------------------------------------------------------------------


def test_a_key_without_the_needed_scope_is_rejected_and_changes_nothing(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
) -> None:
    keys = _create_keys_without_one_scope(world, populated_acme.tenant.id)
    before = db_snapshot.checksum(populated_acme.tenant.id, except_table=AUDIT_TABLE)
    checked_count = 0

    for operation in _operations_with_key(all_operations):
        needs_platform_key, scope = _needed_key(operation)
        if scope is None:
            continue
        for owner in ("platform",) if needs_platform_key else ("platform", "tenant"):
            response = _send(world.api(None), operation, populated_acme, key=keys[owner, scope])
            assert _status_and_code(response) == (403, "scope-missing"), operation.name
            checked_count += 1
            for other_scope in set(SCOPES) - {scope}:
                if f" and `{other_scope}`" in operation.specification["description"]:
                    response = _send(
                        world.api(None), operation, populated_acme, key=keys[owner, other_scope]
                    )
                    assert _status_and_code(response) == (403, "scope-missing"), operation.name
                    continue
                ids = _unknown_ids(populated_acme)
                if operation.method != "GET" and not set(operation.path_names) & ids.keys():
                    continue  # the request would succeed and change something
                response = _send(
                    world.api(None), operation, populated_acme, ids, key=keys[owner, other_scope]
                )
                assert response.status_code in (200, 404), f"{operation.name} without {other_scope}"
                checked_count += 1

    assert checked_count > 150
    assert db_snapshot.checksum(populated_acme.tenant.id, except_table=AUDIT_TABLE) == before


def _create_keys_without_one_scope(world: Factory, tenant_id: str) -> dict[tuple[str, str], str]:
    return {
        (owner, excluded_scope): world.key(
            owner_id, scopes=[scope for scope in SCOPES if scope != excluded_scope]
        )
        for owner, owner_id in (("platform", None), ("tenant", tenant_id))
        for excluded_scope in SCOPES
    }


_CONTENT_PATH = re.compile(r"/(turns|recording|messages|messages/\{\w+\})$")
# API keys, credentials of carriers, the audit log and personal data.
_SENSITIVE_PATH = re.compile(
    r"/(api-keys(/\{\w+\})?|telephony-accounts(/\{\w+\})?|audit|privacy/.*)$"
)
# Endpoints that receive a tenant's events or decide about its calls, and signing secrets.
_SECRET_OPERATION = re.compile(
    r"^(POST|PATCH|DELETE) .*(/webhooks(/\{\w+\}(/rotate-secret)?)?|/decision-webhook)$"
)


def test_every_operation_needs_the_scope_of_its_category(all_operations: list[Operation]) -> None:
    for operation in _operations_with_key(all_operations):
        _, scope = _needed_key(operation)
        if operation.path == "/api/me":
            expected_scope = None
        elif _SENSITIVE_PATH.search(operation.path) or _SECRET_OPERATION.search(operation.name):
            expected_scope = "admin"
        elif operation.method == "GET" and _CONTENT_PATH.search(operation.path):
            expected_scope = "content"
        elif operation.method == "GET" or operation.path.endswith("/explain"):
            expected_scope = "read"
        else:
            expected_scope = "write"
        assert scope == expected_scope, operation.name


def test_a_read_key_gets_no_transcripts(world: Factory, populated_acme: PopulatedTenant) -> None:
    reader = world.api(world.key(populated_acme.tenant.id, scopes=["read"]))
    call_url = populated_acme.tenant.url(f"/calls/{populated_acme.ids['call_id']}")

    responses = [
        reader.get(call_url),
        reader.get(f"{call_url}/events"),
        reader.get(populated_acme.tenant.url("/calls")),
    ]
    turns_response = reader.get(f"{call_url}/turns")

    assert all("are you there?" not in response.text for response in responses)
    assert _status_and_code(turns_response) == (403, "scope-missing")
    assert (
        "are you there?"
        in populated_acme.tenant.get(f"/calls/{populated_acme.ids['call_id']}/turns").text
    )


# --- Platform and tenant keys -----------------------------------------------------------------


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
        operation for operation in _operations_with_key(all_operations) if _needed_key(operation)[0]
    ]

    for operation in platform_only:
        response = _send(populated_acme.tenant.api, operation, populated_acme)

        assert _status_and_code(response) == (403, "platform-key-needed"), operation.name
        assert not populated_globex.leaked_secrets(response.text)

    assert len(platform_only) >= 8
    assert {operation.name for operation in platform_only} == {
        operation.name
        for operation in _operations_with_key(all_operations)
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
    for operation in _operations_with_key(all_operations):
        if operation.path.startswith(TENANT_PATH):
            response = _send(platform.api, operation, populated_acme, _unknown_ids(populated_acme))

            assert _is_accepted(operation, response), f"{operation.name}: {response.text}"


def test_every_key_can_get_its_own_details(
    populated_acme: PopulatedTenant, platform: Platform, world: Factory
) -> None:
    read_key = world.key(populated_acme.tenant.id, scopes=["read"])

    assert populated_acme.tenant.api.get("/api/me").json["tenant_id"] == populated_acme.tenant.id
    assert platform.api.get("/api/me").json["tenant_id"] is None
    assert world.api(read_key).get("/api/me").json["scopes"] == ["read"]


# --- Suspended and deleted tenants ------------------------------------------------------------


def test_the_keys_of_a_suspended_tenant_can_read_and_not_write(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> None:
    platform.api.patch(populated_acme.tenant.url(), {"status": "suspended"})
    before = db_snapshot.checksum(populated_acme.tenant.id, except_table=AUDIT_TABLE)
    rejected_count = 0

    for operation in _operations_with_key(all_operations):
        if (
            not operation.path.startswith(f"{TENANT_PATH}/")
            and operation.name != f"GET {TENANT_PATH}"
        ):
            continue
        if operation.method == "GET":
            assert _send(populated_acme.tenant.api, operation, populated_acme).status_code == 200, (
                operation.name
            )
        elif operation.name not in ALLOWED_WHILE_SUSPENDED:
            response = _send(populated_acme.tenant.api, operation, populated_acme)
            assert _status_and_code(response) == (403, "tenant-suspended"), operation.name
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

    for operation in _operations_with_key(all_operations):
        if operation.path.startswith(f"{TENANT_PATH}/") and operation.method != "GET":
            response = _send(platform.api, operation, populated_acme, _unknown_ids(populated_acme))

            if not operation.path.endswith("/simulations"):  # 409: no agent answers
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

    for operation in _operations_with_key(all_operations):
        if (
            not operation.path.startswith(TENANT_PATH)
            or operation.name in ALLOWED_ON_DELETED_TENANT
        ):
            continue
        response = _send(platform.api, operation, populated_acme)
        assert response.status_code == 404, operation.name
        assert {**response.json, "request_id": None} == {**unknown_problem, "request_id": None}
        assert _send(populated_acme.tenant.api, operation, populated_acme).status_code == 401, (
            operation.name
        )

    assert db_snapshot.checksum(populated_acme.tenant.id) == before
    assert platform.api.get(populated_acme.tenant.url()).json["status"] == "deleted"
    assert populated_acme.tenant.get("").status_code == 401
    assert platform.api.patch(populated_acme.tenant.url(), {"status": "active"}).status_code == 200
    assert populated_acme.tenant.get("/calls").status_code == 200


# --- Creating keys ----------------------------------------------------------------------------


def _key_creation_urls(acme: Tenant) -> list[tuple[str, str | None]]:
    """Return the URLs that create keys, each with the owner of a key that may use it."""
    return [
        (acme.url("/api-keys"), acme.id),
        (acme.url("/api-keys"), None),
        ("/api/api-keys", None),
    ]


def test_a_key_cannot_grant_a_scope_that_it_does_not_have(
    acme: Tenant, world: Factory, db_snapshot: SnapshotChecker
) -> None:
    for url, owner_id in _key_creation_urls(acme):
        client = world.api(world.key(owner_id, scopes=["admin", "read"]))
        count = db_snapshot.rows("SELECT count(*) FROM public.api_keys")
        for scopes in (["write"], ["content"], ["read", "write"], list(SCOPES)):
            response = client.post(url, {"name": "more", "scopes": scopes})
            assert _status_and_code(response) == (403, "scope-exceeded")
        assert db_snapshot.rows("SELECT count(*) FROM public.api_keys") == count

        assert assert_created(client.post(url, {"name": "same"}))["scopes"] == ["read", "admin"]
        assert assert_created(client.post(url, {"name": "less", "scopes": ["read"]}))["scopes"] == [
            "read"
        ]


def test_a_key_cannot_create_a_key_that_expires_later(acme: Tenant, world: Factory) -> None:
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)

    def create_child_key(client: Api, url: str, **fields: Any) -> tuple[int, str | None]:
        response = client.post(url, {"name": "child", **fields})
        return response.status_code, response.json.get("expires_at")

    for url, owner_id in _key_creation_urls(acme):
        client = world.api(world.key(owner_id, expires_at=expires_at))

        assert create_child_key(client, url) == (201, "2030-01-01T00:00:00Z")
        assert create_child_key(client, url, expires_at=None) == (201, "2030-01-01T00:00:00Z")
        earlier = "2029-12-31T23:59:59Z"
        assert create_child_key(client, url, expires_at=earlier) == (201, earlier)
        for too_late in (
            "2030-01-01T00:00:01Z",
            "2030-01-01T00:00:00-01:00",
            "8999-01-01T00:00:00Z",
        ):
            assert create_child_key(client, url, expires_at=too_late) == (403, None)


def test_a_tenants_key_creates_keys_of_its_own_tenant_only(
    acme: Tenant, globex: Tenant, world: Factory
) -> None:
    new = assert_created(acme.post("/api-keys", {"name": "mine"}))

    assert new["tenant_id"] == acme.id
    assert _status_and_code(acme.api.post("/api/api-keys", {"name": "x"})) == (
        403,
        "platform-key-needed",
    )
    assert _status_and_code(acme.api.post(globex.url("/api-keys"), {"name": "x"})) == (
        404,
        "not-found",
    )
    assert world.api(new["key"]).get(globex.url("/calls")).status_code == 404


@pytest.mark.parametrize("path", ["/api/api-keys", "{tenant}/api-keys"])
def test_the_secret_of_a_key_is_returned_once_and_not_stored(
    path: str, acme: Tenant, platform: Platform, db_snapshot: SnapshotChecker
) -> None:
    url = path.replace("{tenant}", acme.url())

    new = assert_created(platform.api.post(url, {"name": "once"}))

    assert new["key"].startswith(new["prefix"])
    secret = new["key"][13:45]
    assert secret not in platform.api.get(url, limit=100).text
    rows = db_snapshot.rows(
        "SELECT to_jsonb(k)::text FROM public.api_keys k WHERE id = %s", new["id"]
    )
    assert secret not in rows[0][0]
