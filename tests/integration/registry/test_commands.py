"""Tests of the platform's commands."""

from typing import Any

from click.testing import Result
from flask import Flask

from tests.support.factories import Factory, Tenant, fresh_number
from vca.kit import json


def _run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=list(arguments))


def _run_json(app: Flask, *arguments: str) -> Any:
    result = _run(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_tenants_commands_create_show_suspend_activate_and_delete_a_tenant(app: Flask) -> None:
    tenant = _run_json(app, "tenants", "create", "--name", "Acme", "--plan", "growth")

    assert _run_json(app, "tenants", "show", tenant["id"])["plan"] == "growth"
    for command, status in (
        ("suspend", "suspended"),
        ("activate", "active"),
        ("delete", "deleted"),
        ("activate", "active"),
    ):
        assert _run_json(app, "tenants", command, tenant["id"])["status"] == status
    assert tenant["id"] in {item["id"] for item in _run_json(app, "tenants", "list")}


def test_an_invalid_command_fails_with_a_message_and_no_traceback(app: Flask, acme: Tenant) -> None:
    unknown_id = "00000000-0000-4000-8000-000000000000"
    for arguments, message in (
        (("tenants", "create", "--name", "   "), "name: Must not be blank."),
        (("tenants", "show", unknown_id), "There is no such resource."),
        (("dids", "assign", "12", acme.id), "did_number: Not a valid E.164"),
        (("dids", "find", fresh_number()), "There is no such resource."),
        (("api-keys", "create", "--name", "x"), "Give either --platform or --tenant ID."),
        (("calls", "simulate", fresh_number()), "belongs to no tenant"),
    ):
        result = _run(app, *arguments)

        assert result.exit_code != 0
        assert message in result.output
        assert "Traceback" not in result.output


def test_tenants_status_counts_tenants_by_revision(app: Flask, acme: Tenant) -> None:
    status = _run_json(app, "tenants", "status")

    assert status["at_head"] >= 1
    assert status["behind"] == {}
    migration_run = _run_json(app, "tenants", "migrate")
    assert (migration_run["migrated"], migration_run["left"], migration_run["failed"]) == (0, 0, {})


def test_a_created_tenant_key_authenticates_until_it_is_revoked(
    app: Flask, world: Factory, acme: Tenant
) -> None:
    created = _run_json(app, "api-keys", "create", "--tenant", acme.id, "--name", "crm")
    api = world.api(created["key"])
    assert api.get(acme.url()).status_code == 200

    _run_json(app, "api-keys", "revoke", created["id"])

    assert api.get(acme.url()).status_code == 401
    keys = _run_json(app, "api-keys", "list", "--tenant", acme.id)
    assert {"crm"} <= {key["name"] for key in keys}
    assert all("key" not in key for key in keys)


def test_api_keys_create_with_platform_creates_a_platform_key(app: Flask, world: Factory) -> None:
    created = _run_json(app, "api-keys", "create", "--platform", "--name", "ops", "--scope", "read")

    key_info = world.api(created["key"]).get("/api/me").json
    assert (key_info["tenant_id"], key_info["scopes"], key_info["name"]) == (None, ["read"], "ops")


def test_dids_commands_assign_find_list_and_release_a_number(app: Flask, acme: Tenant) -> None:
    number = fresh_number()
    _run_json(app, "dids", "assign", number, acme.id)

    assert _run_json(app, "dids", "find", number)["state"] == "assigned"
    assert number in {
        did["did_number"] for did in _run_json(app, "dids", "list", "--tenant", acme.id)
    }
    _run_json(app, "dids", "release", number)
    assert _run(app, "dids", "find", number).exit_code == 1


def test_table_output_begins_with_column_names(app: Flask, acme: Tenant) -> None:
    acme.number()

    lines = _run(app, "dids", "list", "--tenant", acme.id).output.splitlines()

    assert lines[0].split()[:2] == ["did_number", "state"]
    assert len(lines) == 2
