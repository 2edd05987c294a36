"""The audit log: each change and each read of content writes one entry; nothing else does."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support import pii_sentinel
from tests.support.api import Api, ApiResponse
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Platform, Tenant, assert_created, fresh_number
from tests.support.operations import Operation, build_body
from tests.support.populated_tenant import PopulatedTenant, SignedCarrierClient, body_values
from tests.support.sent_sql import record_sent_sql
from tests.support.services import app_services
from vca.audit import redaction
from vca.telephony.adapter import TelephonyError

TENANT_PATH = "/api/tenants/{tenant_id}"
# Fields that a request needs to succeed and that differ from the examples of the schemas.
BODY_OVERRIDES: dict[str, dict[str, Any]] = {
    f"PATCH {TENANT_PATH}": {"status": "active"},
    f"PATCH {TENANT_PATH}/ai-profiles/{{ai_profile_id}}": {"is_default": False},
    f"POST {TENANT_PATH}/calls/{{call_id}}/replay": {"version": 1},
    f"POST {TENANT_PATH}/simulations": {"from": fresh_number()},
}
# Operations that end or remove what other operations need, so they run last.
LAST_PATHS = ("/hangup", "/outcome", "/transfer", "/phone-numbers/{phone_number_id}")
NEW_KEY_REQUEST = ("/api/api-keys", {"name": "one more"})


class AuditLog:
    """The audit entries of one tenant's schema and of the public schema."""

    def __init__(self, db_snapshot: SnapshotChecker, tenant: Tenant) -> None:
        self._db_snapshot = db_snapshot
        self._statement = (
            f'SELECT to_jsonb(e) FROM "{tenant.ref.schema}".audit_entries e'
            " UNION ALL SELECT to_jsonb(e) FROM public.audit_entries e"
        )
        self._known_ids: set[str] = set()
        self.pop_new()

    def pop_new(self) -> list[dict[str, Any]]:
        """Return the entries since the previous call."""
        rows = [entry[0] for entry in self._db_snapshot.rows(self._statement)]
        new_entries = [entry for entry in rows if entry["id"] not in self._known_ids]
        self._known_ids |= {entry["id"] for entry in new_entries}
        return new_entries


@pytest.fixture
def audit_log(db_snapshot: SnapshotChecker, populated_acme: PopulatedTenant) -> AuditLog:
    """Return the audit log of Acme and of the platform."""
    return AuditLog(db_snapshot, populated_acme.tenant)


def _execution_order(catalogue: list[Operation]) -> list[Operation]:
    def sort_key(operation: Operation) -> tuple[bool, list[bool]]:
        return operation.method == "DELETE", [operation.path.endswith(path) for path in LAST_PATHS]

    return sorted((operation for operation in catalogue if operation.needs_key), key=sort_key)


def _send(
    operation: Operation,
    populated_tenant: PopulatedTenant,
    api: Api,
    *,
    ids: dict[str, str] | None = None,
    **options: Any,
) -> ApiResponse:
    body = None
    if operation.body_schema is not None:
        body_fields = {
            **body_values(populated_tenant),
            **BODY_OVERRIDES.get(operation.name, {}),
            "target": f"{pii_sentinel.SENTINEL}{populated_tenant.marker}"[:40],
        }
        body = build_body(operation, body_fields, as_platform=False)
    url = operation.url({**populated_tenant.path_ids(operation.path), **(ids or {})})
    return api.send(operation.method, url, json_body=body, **options)


def _needs_platform(operation: Operation) -> bool:
    return "Needs a platform key" in operation.specification.get("description", "")


def test_each_change_and_each_read_of_content_writes_one_entry(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    audit_log: AuditLog,
) -> None:
    removable = {
        "/api/api-keys/{key_id}": {
            "key_id": assert_created(platform.api.post(*NEW_KEY_REQUEST))["id"]
        },
        f"{TENANT_PATH}/ai-profiles/{{ai_profile_id}}": {
            "ai_profile_id": populated_acme.tenant.profile()["id"]
        },
    }
    errors, entry_count = [], 0
    audit_log.pop_new()

    for operation in _execution_order(all_operations):
        api = platform.api if _needs_platform(operation) else populated_acme.tenant.api
        response = _send(operation, populated_acme, api, ids=removable.get(operation.path))
        new_entries = audit_log.pop_new()

        if response.status_code >= 300:
            errors.append(f"{operation.name}: {response.status_code} {response.text[:300]}")
        elif len(new_entries) != operation.is_audited:
            errors.append(f"{operation.name}: {len(new_entries)} audit entries")
        for entry in new_entries:
            entry_count += 1
            values = (entry["operation"], entry["request_id"], entry["key_prefix"], entry["actor"])
            expected = (
                operation.specification["operationId"],
                response.headers["X-Request-Id"],
                (api.key or "")[:12],
                "platform_key" if api is platform.api else "tenant_key",
            )
            if values != expected:
                errors.append(f"{operation.name}: {values}, expected {expected}")

    assert not errors, "\n".join(errors)
    assert entry_count > 35


def test_a_rejected_request_writes_no_entry(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    platform: Platform,
    audit_log: AuditLog,
) -> None:
    unknown_ids = {name: str(uuid4()) for name in populated_acme.ids if name != "tenant_id"}
    request_count = 0

    for operation in all_operations:
        if not operation.is_audited:
            continue
        api = platform.api if _needs_platform(operation) else populated_acme.tenant.api
        foreign_key_response = _send(operation, populated_acme, populated_globex.tenant.api)
        responses = [foreign_key_response]
        if unknown_ids.keys() & set(operation.path_names):
            responses.append(_send(operation, populated_acme, api, ids=unknown_ids))
        if operation.body_schema is not None:
            url = operation.url(populated_acme.path_ids(operation.path))
            responses.append(api.send(operation.method, url, json_body={"no such field": 1}))

        assert [
            response.status_code for response in responses if response.status_code < 400
        ] == [], operation
        request_count += len(responses)

    assert audit_log.pop_new() == []
    assert request_count > 80


def test_a_failed_hangup_writes_no_entry(
    populated_acme: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    audit_log: AuditLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> None:
        raise TelephonyError("the carrier is away", permanent=False)

    monkeypatch.setattr(carrier_client.carrier, "hang_up", fail)

    response = populated_acme.tenant.post(
        f"/calls/{populated_acme.tenant.get('/calls').json[0]['id']}/hangup"
    )

    assert response.status_code == 502
    assert audit_log.pop_new() == []


@pytest.mark.parametrize(
    ("path", "body", "repeated_status"),
    [
        ("/ai-profiles", {"system_prompt": "You answer."}, 201),  # in one transaction
        ("/api-keys", {"name": "x"}, 409),  # in one of `public`
        ("/webhooks", {"url": "https://8.8.8.8/"}, 409),  # calls out
    ],
)
def test_a_repeated_request_writes_no_second_entry(
    path: str,
    body: dict[str, Any],
    repeated_status: int,
    populated_acme: PopulatedTenant,
    audit_log: AuditLog,
) -> None:
    key = {"Idempotency-Key": uuid4().hex}

    first = populated_acme.tenant.post(path, body, headers=key)
    entries = audit_log.pop_new()
    repeated = populated_acme.tenant.post(path, body, headers=key)

    assert (first.status_code, repeated.status_code) == (201, repeated_status)
    assert len(entries) == 1
    assert audit_log.pop_new() == []


def test_entries_contain_no_texts_numbers_addresses_or_secrets(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> None:
    """Every text of Acme contains its marker, and no other tenant has its numbers and addresses."""
    for operation in _execution_order(all_operations):
        api = platform.api if _needs_platform(operation) else populated_acme.tenant.api
        _send(operation, populated_acme, api)
    number = fresh_number()
    assert_created(
        populated_acme.tenant.post(
            "/phone-numbers", {"did_number": number, "label": populated_acme.marker}
        )
    )
    populated_acme.tenant.patch(
        "/settings", {"notification_email": f"{populated_acme.marker}@example.com"}
    )

    rows = AuditLog(db_snapshot, populated_acme.tenant)._db_snapshot.rows(
        f'SELECT e::text FROM "{populated_acme.tenant.ref.schema}".audit_entries e'
        " UNION ALL SELECT e::text FROM public.audit_entries e"
    )

    audit_text = "\n".join(row[0] for row in rows)
    assert len(rows) > 35
    for secret in (
        populated_acme.marker,
        number,
        populated_acme.did_number,
        "example.com",
        "whsec_",
        "8.8.8.8",
        "+44",
    ):
        assert secret not in audit_text, secret


def test_an_entry_has_plain_hashed_or_redacted_values_of_the_changed_fields(
    populated_acme: PopulatedTenant,
) -> None:
    phone, forward = populated_acme.ids["phone_number_id"], fresh_number()

    populated_acme.tenant.patch(
        f"/phone-numbers/{phone}", {"mode": "forward", "forward_to": forward, "label": "Back door"}
    )

    [entry] = populated_acme.tenant.get("/audit", operation="change_number", object_id=phone).json
    assert (entry["object_type"], entry["object_id"]) == ("phone_number", phone)
    assert entry["changes"] == {
        "mode": {"from": "agent", "to": "forward"},
        "forward_to": {
            "from_hash": None,
            "to_hash": str(redaction.hash_text(forward, app_services().settings.peppers[0])),
        },
        "label": {"redacted": True},
    }


def test_a_streamed_turn_and_a_head_of_a_recording_write_one_entry_each(
    populated_acme: PopulatedTenant, audit_log: AuditLog
) -> None:
    turns = f"/simulations/{populated_acme.ids['call_id']}/turns"
    turn_response = populated_acme.tenant.post(
        turns, {"text": "Hello?"}, headers={"Accept": "text/event-stream"}
    )
    stream = turn_response.get_data(as_text=True)
    head_response = populated_acme.tenant.api.send(
        "HEAD", populated_acme.tenant.url(f"/calls/{populated_acme.ids['call_id']}/recording")
    )

    assert "event: reply" in stream
    assert head_response.status_code == 200
    assert [entry["operation"] for entry in audit_log.pop_new()] == [
        "say_in_simulation",
        "get_recording",
    ]


def test_an_audit_entry_needs_no_extra_round_trip(
    populated_acme: PopulatedTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    populated_acme.tenant.get("/messages")  # the first request opens a connection
    with record_sent_sql(monkeypatch) as content_sql:
        populated_acme.tenant.get("/messages")
    with record_sent_sql(monkeypatch) as change_sql:
        populated_acme.tenant.patch("/settings", {"time_zone": "Europe/Paris"})
    with record_sent_sql(monkeypatch) as unaudited_sql:
        populated_acme.tenant.get("/webhooks")

    for round_trips in (content_sql, change_sql):
        assert not [sql for sql in round_trips[:-1] if "audit_entries" in "".join(sql)]
        *_, insertion, commit = round_trips[-1]
        assert insertion.startswith("INSERT INTO audit_entries")
        assert commit == "COMMIT"
    assert unaudited_sql[-1] == ("COMMIT",)
    assert len(unaudited_sql) == len(content_sql)
