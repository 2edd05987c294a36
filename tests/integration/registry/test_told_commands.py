"""What an operator types and what changes something is told, with the command line as the actor."""

from typing import Any

import pytest

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.tenants_cli import TenantsCli
from vca.audit import redaction
from vca.kit import json


@pytest.fixture
def acme(template_world: Factory) -> Tenant:
    """A tenant where the terminal is."""
    return template_world.tenant("Acme")


def _typed(terminal: TenantsCli, *words: object) -> Any:
    runner = terminal.app.test_cli_runner()
    result = runner.invoke(args=[*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _told(witness: SnapshotChecker, tenant: Tenant | None = None) -> list[tuple[Any, ...]]:
    """(actor, operation, type, id, changes, tenant) of every entry, the oldest first."""
    table = "public" if tenant is None else f'"{tenant.ref.schema}"'
    return witness.rows(
        "SELECT actor, operation, object_type, object_id::text, changes, tenant_id::text"
        f" FROM {table}.audit_entries ORDER BY id"
    )


def test_each_command_that_changes_something_is_told_once(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker
) -> None:
    before, number = len(_told(db_snapshot)), fresh_number()
    tenant = _typed(tenants_cli, "tenants", "create", "--name", "Acme")["id"]
    for command in ("suspend", "activate", "delete", "activate"):
        _typed(tenants_cli, "tenants", command, tenant)
    key = _typed(tenants_cli, "api-keys", "create", "--tenant", tenant, "--name", "x")["id"]
    _typed(tenants_cli, "api-keys", "revoke", key)
    _typed(tenants_cli, "dids", "assign", number, tenant)
    _typed(tenants_cli, "dids", "release", number)
    for command in ("freeze", "resume"):
        _typed(tenants_cli, "dialling", command)

    told = _told(db_snapshot)[before:]

    assert {each[0] for each in told} == {"command_line"}
    assert [each[1:4] for each in told] == [
        ("tenants create", "tenant", tenant),
        ("tenants suspend", "tenant", tenant),
        ("tenants activate", "tenant", tenant),
        ("tenants delete", "tenant", tenant),
        ("tenants activate", "tenant", tenant),
        ("api-keys create", "api_key", key),
        ("api-keys revoke", "api_key", key),
        ("dids assign", "did", str(redaction.hash_text(number))),
        ("dids release", "did", str(redaction.hash_text(number))),
        ("dialling freeze", "deployment", None),
        ("dialling resume", "deployment", None),
    ]
    assert told[1][4] == {"status": {"from": "active", "to": "suspended"}}
    assert {each[5] for each in told[:8]} == {tenant}
    assert number not in str(told)


def test_commands_that_only_show_something_are_not_told(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, acme: Tenant
) -> None:
    before = _told(db_snapshot), _told(db_snapshot, acme)

    for words in (
        ("tenants", "list"),
        ("tenants", "show", acme.id),
        ("api-keys", "list", "--platform"),
        ("dids", "list"),
        ("calls", "reconcile"),
    ):
        _typed(tenants_cli, *words)

    assert (_told(db_snapshot), _told(db_snapshot, acme)) == before


def test_a_tenants_freeze_and_every_call_that_is_hung_up_are_told_inside_the_tenant(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    calls = {acme.simulate(number)["call_id"] for _ in range(3)}
    before = len(_told(db_snapshot, acme))

    _typed(tenants_cli, "dialling", "freeze", "--tenant", acme.id)
    _typed(tenants_cli, "calls", "hangup", "--tenant", acme.id)

    frozen, *ended = _told(db_snapshot, acme)[before:]
    assert frozen[:3] == ("command_line", "dialling freeze", "settings")
    assert {each[1:4] for each in ended} == {("calls hangup", "call", call) for call in calls}
    assert len(ended) == 3
    assert ended[0][4]["status"] == {"from": "in_progress", "to": "completed"}


def test_what_carriers_and_jobs_do_is_nobodys_operation(
    tenants_cli: TenantsCli, template_world: Factory, db_snapshot: SnapshotChecker, acme: Tenant
) -> None:
    acme.number()
    before = len(_told(db_snapshot, acme))

    assert template_world.run_jobs(acme)

    assert len(_told(db_snapshot, acme)) == before
