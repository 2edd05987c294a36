"""Every operation that changes something, or is shown content, is told once; nothing else is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from tests.support import pii_sentinel
from tests.support.api import Api
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Platform, Tenant, assert_created, fresh_number
from tests.support.operations import Operation, build_body
from tests.support.populated_tenant import (
    PopulatedTenant,
    SignedCarrierClient,
    body_values,
    cursor_of,
)
from vca.audit import redaction
from vca.kit import db
from vca.kit.db import dialect
from vca.telephony.adapter import TelephonyError

T = "/api/tenants/{tenant_id}"
# What the schemas' own examples do not say of a request that is to succeed.
FITTING: dict[str, dict[str, Any]] = {
    f"PATCH {T}": {"status": "active"},
    f"PATCH {T}/ai-profiles/{{ai_profile_id}}": {"is_default": False},
    f"POST {T}/calls/{{call_id}}/replay": {"version": 1},
    f"POST {T}/simulations": {"from": fresh_number()},
}
# After those that need what they end or take away.
LAST = ("/hangup", "/transfer", "/phone-numbers/{phone_number_id}")


NEW_KEY = ("/api/api-keys", {"name": "one more"})


class AuditLog:
    """The entries of one tenant's schema and of `public`, and which of them are new."""

    def __init__(self, evidence: SnapshotChecker, tenant: Tenant) -> None:
        self._evidence = evidence
        self._statement = (
            f'SELECT to_jsonb(e) FROM "{tenant.ref.schema}".audit_entries e'
            " UNION ALL SELECT to_jsonb(e) FROM public.audit_entries e"
        )
        self._known: set[str] = set()
        self.new()

    def new(self) -> list[dict[str, Any]]:
        """What was told since this was last asked."""
        rows = [row[0] for row in self._evidence.rows(self._statement)]
        found = [row for row in rows if row["id"] not in self._known]
        self._known |= {row["id"] for row in found}
        return found


@pytest.fixture
def audit_log(db_snapshot: SnapshotChecker, populated_acme: PopulatedTenant) -> AuditLog:
    """Acme's entries and the platform's."""
    return AuditLog(db_snapshot, populated_acme.tenant)


def _in_order(catalogue: list[Operation]) -> list[Operation]:
    def late(operation: Operation) -> tuple[bool, list[bool]]:
        return operation.method == "DELETE", [operation.path.endswith(each) for each in LAST]

    return sorted((each for each in catalogue if each.needs_key), key=late)


def _ask(
    operation: Operation,
    here: PopulatedTenant,
    api: Api,
    *,
    ids: dict[str, str] | None = None,
    **options: Any,
) -> Any:
    sent = None
    if operation.body_schema is not None:
        fitting = {
            **body_values(here),
            **FITTING.get(operation.name, {}),
            "target": f"{pii_sentinel.SENTINEL}{here.marker}"[:40],
        }
        sent = build_body(operation, fitting, as_platform=False)
    url = operation.url({**here.path_ids(operation.path), **(ids or {})})
    return api.send(operation.method, url, json_body=sent, **options)


def _needs_platform(operation: Operation) -> bool:
    return "Needs a platform key" in operation.specification.get("description", "")


def test_every_operation_that_changes_something_or_shows_content_is_told_once(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    audit_log: AuditLog,
) -> None:
    removable = {
        "/api/api-keys/{key_id}": {"key_id": assert_created(platform.api.post(*NEW_KEY))["id"]},
        f"{T}/ai-profiles/{{ai_profile_id}}": {
            "ai_profile_id": populated_acme.tenant.profile()["id"]
        },
    }
    faults, told = [], 0
    audit_log.new()

    for operation in _in_order(all_operations):
        api = platform.api if _needs_platform(operation) else populated_acme.tenant.api
        answer = _ask(operation, populated_acme, api, ids=removable.get(operation.path))
        new = audit_log.new()

        if answer.status_code >= 300:
            faults.append(f"{operation.name}: {answer.status_code} {answer.text[:300]}")
        elif len(new) != operation.is_audited:
            faults.append(f"{operation.name}: told {len(new)} times")
        for entry in new:
            told += 1
            found = (entry["operation"], entry["request_id"], entry["key_prefix"], entry["actor"])
            expected = (
                operation.specification["operationId"],
                answer.headers["X-Request-Id"],
                (api.key or "")[:12],
                "platform_key" if api is platform.api else "tenant_key",
            )
            if found != expected:
                faults.append(f"{operation.name}: {found}, and not {expected}")

    assert not faults, "\n".join(faults)
    assert told > 35


def test_what_is_refused_is_not_told(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    populated_globex: PopulatedTenant,
    platform: Platform,
    audit_log: AuditLog,
) -> None:
    gone = {name: str(uuid4()) for name in populated_acme.ids if name != "tenant_id"}
    asked = 0

    for operation in all_operations:
        if not operation.is_audited:
            continue
        api = platform.api if _needs_platform(operation) else populated_acme.tenant.api
        answers = [
            _ask(operation, populated_acme, populated_globex.tenant.api)
        ]  # another tenant's key
        if gone.keys() & set(operation.path_names):
            answers.append(_ask(operation, populated_acme, api, ids=gone))
        if operation.body_schema is not None:
            url = operation.url(populated_acme.path_ids(operation.path))
            answers.append(api.send(operation.method, url, json_body={"no such field": 1}))

        assert [each.status_code for each in answers if each.status_code < 400] == [], operation
        asked += len(answers)

    assert audit_log.new() == []
    assert asked > 80


def test_a_carrier_that_fails_leaves_a_hangup_untold(
    populated_acme: PopulatedTenant,
    carrier_client: SignedCarrierClient,
    audit_log: AuditLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> None:
        raise TelephonyError("the carrier is away", permanent=False)

    monkeypatch.setattr(carrier_client.carrier, "hang_up", fail)

    answer = populated_acme.tenant.post(
        f"/calls/{populated_acme.tenant.get('/calls').json[0]['id']}/hangup"
    )

    assert answer.status_code == 502
    assert audit_log.new() == []


@pytest.mark.parametrize(
    ("path", "sent", "answer"),
    [
        ("/ai-profiles", {"system_prompt": "You answer."}, 201),  # in one transaction
        ("/api-keys", {"name": "x"}, 409),  # in one of `public`
        ("/webhooks", {"url": "https://8.8.8.8/"}, 409),  # calls out
    ],
)
def test_a_repeated_idempotency_key_is_told_once(
    path: str,
    sent: dict[str, Any],
    answer: int,
    populated_acme: PopulatedTenant,
    audit_log: AuditLog,
) -> None:
    key = {"Idempotency-Key": uuid4().hex}

    first = populated_acme.tenant.post(path, sent, headers=key)
    told = audit_log.new()
    again = populated_acme.tenant.post(path, sent, headers=key)

    assert (first.status_code, again.status_code) == (201, answer)
    assert len(told) == 1
    assert audit_log.new() == []


def test_nothing_that_anybody_said_wrote_or_dialled_is_told(
    all_operations: list[Operation],
    populated_acme: PopulatedTenant,
    platform: Platform,
    db_snapshot: SnapshotChecker,
) -> None:
    """Every text that Acme keeps bears its word; its numbers and addresses are its own."""
    for operation in _in_order(all_operations):
        api = platform.api if _needs_platform(operation) else populated_acme.tenant.api
        _ask(operation, populated_acme, api)
    number = fresh_number()
    assert_created(
        populated_acme.tenant.post(
            "/phone-numbers", {"did_number": number, "label": populated_acme.marker}
        )
    )
    populated_acme.tenant.patch(
        "/settings", {"notification_email": f"{populated_acme.marker}@example.com"}
    )

    rows = AuditLog(db_snapshot, populated_acme.tenant)._evidence.rows(
        f'SELECT e::text FROM "{populated_acme.tenant.ref.schema}".audit_entries e'
        " UNION ALL SELECT e::text FROM public.audit_entries e"
    )

    told = "\n".join(row[0] for row in rows)
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
        assert secret not in told, secret


def test_a_change_is_told_by_field_and_values_only_where_they_are_plain(
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
        "forward_to": {"from_hash": None, "to_hash": str(redaction.hash_text(forward))},
        "label": {"redacted": True},
    }


def test_a_tenants_list_has_what_was_done_to_it_from_outside_in_its_place(
    populated_acme: PopulatedTenant, platform: Platform
) -> None:
    assert_created(populated_acme.tenant.post("/api-keys", {"name": "crm"}))
    populated_acme.tenant.patch("/settings", {"time_zone": "Europe/Paris"})
    platform.api.patch(populated_acme.tenant.url(), {"plan": "growth"})
    populated_acme.tenant.get("/messages")

    newest = populated_acme.tenant.get("/audit", limit=4).json

    assert [each["operation"] for each in newest] == [
        "list_messages",
        "change_tenant",
        "change_settings",
        "create_tenant_key",
    ]
    assert newest[1]["changes"] == {"plan": {"from": "starter", "to": "growth"}}
    assert [each["actor"] for each in newest[:2]] == ["tenant_key", "platform_key"]
    assert {each["tenant_id"] for each in newest} == {populated_acme.tenant.id}


def test_a_streamed_turn_and_a_look_at_a_recordings_headers_are_told_once_each(
    populated_acme: PopulatedTenant, audit_log: AuditLog
) -> None:
    turns = f"/simulations/{populated_acme.ids['call_id']}/turns"
    spoken = populated_acme.tenant.post(
        turns, {"text": "Hello?"}, headers={"Accept": "text/event-stream"}
    )
    said = spoken.get_data(as_text=True)
    looked = populated_acme.tenant.api.send(
        "HEAD", populated_acme.tenant.url(f"/calls/{populated_acme.ids['call_id']}/recording")
    )

    assert "event: reply" in said
    assert looked.status_code == 200
    assert [each["operation"] for each in audit_log.new()] == ["say_in_simulation", "get_recording"]


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_pages_over_both_lists_show_every_entry_once(
    limit: int, populated_acme: PopulatedTenant
) -> None:
    for count in range(4):
        assert_created(populated_acme.tenant.post("/api-keys", {"name": "x"}))
        populated_acme.tenant.patch("/settings", {"variables": {"count": str(count)}})
    whole = [each["id"] for each in populated_acme.tenant.get("/audit", limit=100).json]

    walked, cursor = [], {}
    while True:
        answer = populated_acme.tenant.get("/audit", limit=limit, **cursor)
        walked += [each["id"] for each in answer.json]
        if "Link" not in answer.headers:
            break
        cursor = {"cursor": cursor_of(answer)}

    assert walked == whole
    assert len(set(whole)) == len(whole) > 20
    assert whole == sorted(whole, reverse=True)


def test_neither_tenant_is_told_of_the_other(
    populated_acme: PopulatedTenant, populated_globex: PopulatedTenant
) -> None:
    assert_created(populated_globex.tenant.post("/api-keys", {"name": "x"}))

    shown = populated_acme.tenant.get("/audit", limit=100)

    assert shown.json
    assert not populated_globex.leaked_secrets(shown.text)


def test_a_list_can_be_asked_by_who_what_and_when(
    populated_acme: PopulatedTenant, platform: Platform
) -> None:
    platform.api.patch(populated_acme.tenant.url("/settings"), {"time_zone": "Europe/Paris"})
    [newest] = populated_acme.tenant.get("/audit", limit=1).json
    asked: dict[str, Any] = {
        "operation": "change_settings",
        "object_type": "settings",
        "object_id": newest["object_id"],
        "actor": "platform_key",
        "key_prefix": platform.key[:12],
    }

    found = populated_acme.tenant.get("/audit", **asked).json

    assert newest["id"] in [each["id"] for each in found]
    for name, value in asked.items():
        assert {each[name] for each in found} == {value}
    assert populated_acme.tenant.get("/audit", created_after=newest["created_at"]).json == []
    assert populated_acme.tenant.get(
        "/audit", created_before=newest["created_at"], limit=1
    ).json != [newest]
    assert populated_acme.tenant.get("/audit", created_after="1970-01-01T00:00:00Z").json
    assert populated_acme.tenant.get("/audit", who="me").status_code == 400
    assert populated_acme.tenant.get("/audit", actor="nobody").status_code == 400


def test_operators_see_what_was_done_in_public_and_whose_it_was(
    populated_acme: PopulatedTenant, populated_globex: PopulatedTenant, platform: Platform
) -> None:
    assert_created(populated_acme.tenant.post("/api-keys", {"name": "x"}))
    number = fresh_number()
    assert_created(
        platform.api.post(
            "/api/dids", {"did_number": number, "tenant_id": populated_globex.tenant.id}
        )
    )

    newest = platform.api.get("/api/audit", limit=2).json
    of_acme = platform.api.get("/api/audit", tenant_id=populated_acme.tenant.id, limit=100).json

    assert [each["operation"] for each in newest] == ["assign_did", "create_tenant_key"]
    assert newest[0]["object_id"] == str(redaction.hash_text(number))
    assert newest[0]["tenant_id"] == populated_globex.tenant.id
    assert {each["tenant_id"] for each in of_acme} == {populated_acme.tenant.id}
    assert not populated_globex.leaked_secrets(str(of_acme))


@contextmanager
def _sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every string that goes to the server, but for the look-up of the key."""
    said: list[str] = []
    send = dialect._execute

    def noting(connection: Any, statement: str) -> None:
        said.append(statement)
        send(connection, statement)

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    engine = db.current_database().engine
    event.listen(engine, "before_cursor_execute", note)
    with monkeypatch.context() as patched:
        patched.setattr(dialect, "_execute", noting)
        try:
            yield said
        finally:
            event.remove(engine, "before_cursor_execute", note)


def test_telling_costs_no_round_trip_and_what_is_not_told_nothing(
    populated_acme: PopulatedTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _sent(monkeypatch) as content:
        populated_acme.tenant.get("/messages")
    with _sent(monkeypatch) as change:
        populated_acme.tenant.patch("/settings", {"time_zone": "Europe/Paris"})
    with _sent(monkeypatch) as plain:
        populated_acme.tenant.get("/ai-profiles")

    for said in (content, change):
        assert "audit_entries" not in "".join(said[:-1])
        assert said[-1].startswith("INSERT INTO audit_entries")
        assert said[-1].endswith("; COMMIT")
    assert plain[-1] == "COMMIT"
    assert len(plain) == len(content)
