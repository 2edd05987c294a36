"""Tests of the audit entries of commands."""

from typing import Any

import pytest

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.services import app_services
from tests.support.tenants_cli import TenantsCli
from vca.audit import redaction
from vca.kit import json


@pytest.fixture
def acme(template_world: Factory) -> Tenant:
    """Return a tenant in the template's copy."""
    return template_world.tenant("Acme")


def _run_json(tenants_cli: TenantsCli, *arguments: object) -> Any:
    runner = tenants_cli.app.test_cli_runner()
    result = runner.invoke(args=[*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _audit_entries(
    db_snapshot: SnapshotChecker, tenant: Tenant | None = None
) -> list[tuple[Any, ...]]:
    """Return (actor, operation, type, id, changes, tenant) of every entry, oldest first."""
    table = "public" if tenant is None else f'"{tenant.ref.schema}"'
    return db_snapshot.rows(
        "SELECT actor, operation, object_type, object_id::text, changes, tenant_id::text"
        f" FROM {table}.audit_entries ORDER BY id"
    )


def test_each_command_that_changes_something_writes_one_audit_entry(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker
) -> None:
    before, number = len(_audit_entries(db_snapshot)), fresh_number()
    tenant_id = _run_json(tenants_cli, "tenants", "create", "--name", "Acme")["id"]
    for command in ("suspend", "activate", "delete", "activate"):
        _run_json(tenants_cli, "tenants", command, tenant_id)
    key_id = _run_json(tenants_cli, "api-keys", "create", "--tenant", tenant_id, "--name", "x")[
        "id"
    ]
    _run_json(tenants_cli, "api-keys", "revoke", key_id)
    _run_json(tenants_cli, "dids", "assign", number, tenant_id)
    _run_json(tenants_cli, "dids", "release", number)
    for command in ("freeze", "resume"):
        _run_json(tenants_cli, "dialling", command)

    entries = _audit_entries(db_snapshot)[before:]

    assert {entry[0] for entry in entries} == {"command_line"}
    assert [entry[1:4] for entry in entries] == [
        ("tenants create", "tenant", tenant_id),
        ("tenants suspend", "tenant", tenant_id),
        ("tenants activate", "tenant", tenant_id),
        ("tenants delete", "tenant", tenant_id),
        ("tenants activate", "tenant", tenant_id),
        ("api-keys create", "api_key", key_id),
        ("api-keys revoke", "api_key", key_id),
        (
            "dids assign",
            "did",
            str(redaction.hash_text(number, app_services().settings.peppers[0])),
        ),
        (
            "dids release",
            "did",
            str(redaction.hash_text(number, app_services().settings.peppers[0])),
        ),
        ("dialling freeze", "deployment", None),
        ("dialling resume", "deployment", None),
    ]
    assert entries[1][4] == {"status": {"from": "active", "to": "suspended"}}
    assert {entry[5] for entry in entries[:8]} == {tenant_id}
    assert number not in str(entries)


def test_read_only_commands_write_no_audit_entries(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, acme: Tenant
) -> None:
    before = _audit_entries(db_snapshot), _audit_entries(db_snapshot, acme)

    for arguments in (
        ("tenants", "list"),
        ("tenants", "show", acme.id),
        ("api-keys", "list", "--platform"),
        ("dids", "list"),
        ("calls", "reconcile"),
    ):
        _run_json(tenants_cli, *arguments)

    assert (_audit_entries(db_snapshot), _audit_entries(db_snapshot, acme)) == before


def test_freeze_and_hangup_of_a_tenant_write_entries_in_its_audit_log(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    call_ids = {acme.simulate(number)["call_id"] for _ in range(3)}
    before = len(_audit_entries(db_snapshot, acme))

    _run_json(tenants_cli, "dialling", "freeze", "--tenant", acme.id)
    _run_json(tenants_cli, "calls", "hangup", "--tenant", acme.id)

    freeze_entry, *hangup_entries = _audit_entries(db_snapshot, acme)[before:]
    assert freeze_entry[:3] == ("command_line", "dialling freeze", "settings")
    assert {entry[1:4] for entry in hangup_entries} == {
        ("calls hangup", "call", call_id) for call_id in call_ids
    }
    assert len(hangup_entries) == 3
    assert hangup_entries[0][4]["status"] == {"from": "in_progress", "to": "completed"}


def test_jobs_write_no_audit_entries(
    tenants_cli: TenantsCli, template_world: Factory, db_snapshot: SnapshotChecker, acme: Tenant
) -> None:
    acme.number()
    before = len(_audit_entries(db_snapshot, acme))

    assert template_world.run_jobs(acme)

    assert len(_audit_entries(db_snapshot, acme)) == before
