"""Each operation needs the scope of its category."""

import re

from tests.integration.api.authorization.operation_requests import (
    AUDIT_TABLE,
    needed_key,
    operations_with_key,
    send_operation,
    status_and_code,
    unknown_ids,
)
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory
from tests.support.operations import Operation
from tests.support.populated_tenant import PopulatedTenant
from vca.registry.api_keys.models import SCOPES


def test_a_key_without_the_needed_scope_is_rejected_and_changes_nothing(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    world: Factory,
    db_snapshot: SnapshotChecker,
) -> None:
    keys = _create_keys_without_one_scope(world, populated_acme.tenant.id)
    before = db_snapshot.checksum(populated_acme.tenant.id, except_table=AUDIT_TABLE)
    checked_count = 0

    for operation in operations_with_key(all_operations):
        needs_platform_key, scope = needed_key(operation)
        if scope is None:
            continue
        for owner in ("platform",) if needs_platform_key else ("platform", "tenant"):
            response = send_operation(
                world.api(None), operation, populated_acme, key=keys[owner, scope]
            )
            assert status_and_code(response) == (403, "scope-missing"), operation.name
            checked_count += 1
            for other_scope in set(SCOPES) - {scope}:
                if f" and `{other_scope}`" in operation.specification["description"]:
                    response = send_operation(
                        world.api(None), operation, populated_acme, key=keys[owner, other_scope]
                    )
                    assert status_and_code(response) == (403, "scope-missing"), operation.name
                    continue
                ids = unknown_ids(populated_acme)
                if operation.method != "GET" and not set(operation.path_names) & ids.keys():
                    continue  # the request would succeed and change something
                response = send_operation(
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
    for operation in operations_with_key(all_operations):
        _, scope = needed_key(operation)
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
    assert status_and_code(turns_response) == (403, "scope-missing")
    assert (
        "are you there?"
        in populated_acme.tenant.get(f"/calls/{populated_acme.ids['call_id']}/turns").text
    )
