"""The operator's commands, as typed."""

from typing import Any

from click.testing import Result
from flask import Flask

from tests.support.factories import Factory, Tenant, fresh_number
from vca.kit import json


def _run(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=list(words))


def _json(app: Flask, *words: str) -> Any:
    result = _run(app, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_tenant_is_created_shown_suspended_activated_and_deleted(app: Flask) -> None:
    tenant = _json(app, "tenants", "create", "--name", "Acme", "--plan", "growth")

    assert _json(app, "tenants", "show", tenant["id"])["plan"] == "growth"
    for command, status in (
        ("suspend", "suspended"),
        ("activate", "active"),
        ("delete", "deleted"),
        ("activate", "active"),
    ):
        assert _json(app, "tenants", command, tenant["id"])["status"] == status
    assert tenant["id"] in {item["id"] for item in _json(app, "tenants", "list")}


def test_what_is_wrong_is_one_sentence(app: Flask, acme: Tenant) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    for words, said in (
        (("tenants", "create", "--name", "   "), "name: Must not be blank."),
        (("tenants", "show", nobody), "There is no such resource."),
        (("dids", "assign", "12", acme.id), "did_number: Not a valid E.164"),
        (("dids", "find", fresh_number()), "There is no such resource."),
        (("api-keys", "create", "--name", "x"), "Give either --platform or --tenant ID."),
        (("calls", "simulate", fresh_number()), "belongs to no tenant"),
    ):
        result = _run(app, *words)

        assert result.exit_code != 0
        assert said in result.output
        assert "Traceback" not in result.output


def test_the_status_of_the_fleet_counts_tenants_by_revision(app: Flask, acme: Tenant) -> None:
    status = _json(app, "tenants", "status")

    assert status["at_head"] >= 1
    assert status["behind"] == {}
    run = _json(app, "tenants", "migrate")
    assert (run["migrated"], run["left"], run["failed"]) == (0, 0, {})


def test_a_key_made_at_the_terminal_works_until_it_is_revoked(
    app: Flask, world: Factory, acme: Tenant
) -> None:
    made = _json(app, "api-keys", "create", "--tenant", acme.id, "--name", "crm")
    api = world.api(made["key"])
    assert api.get(acme.url()).status_code == 200

    _json(app, "api-keys", "revoke", made["id"])

    assert api.get(acme.url()).status_code == 401
    listed = _json(app, "api-keys", "list", "--tenant", acme.id)
    assert {"crm"} <= {key["name"] for key in listed}
    assert "key" not in listed[0]


def test_a_platform_key_is_made_at_the_terminal(app: Flask, world: Factory) -> None:
    made = _json(app, "api-keys", "create", "--platform", "--name", "ops", "--scope", "read")

    me = world.api(made["key"]).get("/api/me").json
    assert (me["tenant_id"], me["scopes"], me["name"]) == (None, ["read"], "ops")


def test_numbers_are_assigned_found_listed_and_released(app: Flask, acme: Tenant) -> None:
    number = fresh_number()
    _json(app, "dids", "assign", number, acme.id)

    assert _json(app, "dids", "find", number)["state"] == "assigned"
    assert number in {did["did_number"] for did in _json(app, "dids", "list", "--tenant", acme.id)}
    _json(app, "dids", "release", number)
    assert _run(app, "dids", "find", number).exit_code == 1


def test_tables_for_people_have_a_heading(app: Flask, acme: Tenant) -> None:
    acme.number()

    listed = _run(app, "dids", "list", "--tenant", acme.id).output.splitlines()

    assert listed[0].split()[:2] == ["did_number", "state"]
    assert len(listed) == 2
