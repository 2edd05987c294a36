"""The lists of audit entries of a tenant and of the platform."""

from typing import Any

import pytest

from tests.support.factories import Platform, assert_created, fresh_number
from tests.support.populated_tenant import PopulatedTenant, cursor_of
from tests.support.services import app_services
from vca.audit import redaction


def test_a_tenants_list_includes_changes_by_the_platform_in_order(
    populated_acme: PopulatedTenant, platform: Platform
) -> None:
    assert_created(populated_acme.tenant.post("/api-keys", {"name": "crm"}))
    populated_acme.tenant.patch("/settings", {"time_zone": "Europe/Paris"})
    platform.api.patch(populated_acme.tenant.url(), {"plan": "growth"})
    populated_acme.tenant.get("/messages")

    newest = populated_acme.tenant.get("/audit", limit=4).json

    assert [entry["operation"] for entry in newest] == [
        "list_messages",
        "change_tenant",
        "change_settings",
        "create_tenant_key",
    ]
    assert newest[1]["changes"] == {"plan": {"from": "starter", "to": "growth"}}
    assert [entry["actor"] for entry in newest[:2]] == ["tenant_key", "platform_key"]
    assert {entry["tenant_id"] for entry in newest} == {populated_acme.tenant.id}


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_pages_of_a_list_contain_every_entry_once(
    limit: int, populated_acme: PopulatedTenant
) -> None:
    for count in range(4):
        assert_created(populated_acme.tenant.post("/api-keys", {"name": "x"}))
        populated_acme.tenant.patch("/settings", {"variables": {"count": str(count)}})
    complete_list = [entry["id"] for entry in populated_acme.tenant.get("/audit", limit=100).json]

    paged_list: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        response = populated_acme.tenant.get("/audit", limit=limit, **cursor)
        paged_list += [entry["id"] for entry in response.json]
        if "Link" not in response.headers:
            break
        cursor = {"cursor": cursor_of(response)}

    assert paged_list == complete_list
    assert len(set(complete_list)) == len(complete_list) > 20
    assert complete_list == sorted(complete_list, reverse=True)


def test_a_tenants_list_has_no_entries_of_another_tenant(
    populated_acme: PopulatedTenant, populated_globex: PopulatedTenant
) -> None:
    assert_created(populated_globex.tenant.post("/api-keys", {"name": "x"}))

    response = populated_acme.tenant.get("/audit", limit=100)

    assert response.json
    assert not populated_globex.leaked_secrets(response.text)


def test_a_list_can_be_filtered_by_actor_object_and_time(
    populated_acme: PopulatedTenant, platform: Platform
) -> None:
    platform.api.patch(populated_acme.tenant.url("/settings"), {"time_zone": "Europe/Paris"})
    [newest, *older_entries] = populated_acme.tenant.get("/audit", limit=100).json
    filters: dict[str, Any] = {
        "operation": "change_settings",
        "object_type": "settings",
        "object_id": newest["object_id"],
        "actor": "platform_key",
        "key_prefix": platform.key[:12],
    }

    entries = populated_acme.tenant.get("/audit", **filters).json

    assert newest["id"] in [entry["id"] for entry in entries]
    for name, value in filters.items():
        assert {entry[name] for entry in entries} == {value}
    assert populated_acme.tenant.get("/audit", created_after=newest["created_at"]).json == []
    assert 1 < len(older_entries) < 99  # the list was complete
    before_newest = populated_acme.tenant.get(
        "/audit", created_before=newest["created_at"], limit=100
    )
    assert before_newest.json == older_entries
    assert populated_acme.tenant.get("/audit", created_after="1970-01-01T00:00:00Z").json
    assert populated_acme.tenant.get("/audit", who="me").status_code == 400
    assert populated_acme.tenant.get("/audit", actor="nobody").status_code == 400


def test_the_platforms_list_names_the_tenant_of_each_entry(
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
    acme_entries = platform.api.get(
        "/api/audit", tenant_id=populated_acme.tenant.id, limit=100
    ).json

    assert [entry["operation"] for entry in newest] == ["assign_did", "create_tenant_key"]
    assert newest[0]["object_id"] == str(
        redaction.hash_text(number, app_services().settings.peppers[0])
    )
    assert newest[0]["tenant_id"] == populated_globex.tenant.id
    assert {entry["tenant_id"] for entry in acme_entries} == {populated_acme.tenant.id}
    assert not populated_globex.leaked_secrets(str(acme_entries))
