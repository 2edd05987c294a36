"""What an operator types and what changes something is told, with the command line as the actor."""

from typing import Any

import pytest

from tests.support.evidence import Evidence
from tests.support.lifecycle import Terminal
from tests.support.world import Tenant, World, fresh_number
from vca.audit import redaction
from vca.kit import json


@pytest.fixture
def acme(operator: World) -> Tenant:
    """A tenant where the terminal is."""
    return operator.tenant("Acme")


def _typed(terminal: Terminal, *words: object) -> Any:
    runner = terminal.app.test_cli_runner()
    result = runner.invoke(args=[*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _told(witness: Evidence, tenant: Tenant | None = None) -> list[tuple[Any, ...]]:
    """(actor, operation, type, id, changes, tenant) of every entry, the oldest first."""
    table = "public" if tenant is None else f'"{tenant.ref.schema}"'
    return witness.rows(
        "SELECT actor, operation, object_type, object_id::text, changes, tenant_id::text"
        f" FROM {table}.audit_entries ORDER BY id"
    )


def test_each_command_that_changes_something_is_told_once(
    terminal: Terminal, witness: Evidence
) -> None:
    before, number = len(_told(witness)), fresh_number()
    tenant = _typed(terminal, "tenants", "create", "--name", "Acme")["id"]
    for command in ("suspend", "activate", "delete", "activate"):
        _typed(terminal, "tenants", command, tenant)
    key = _typed(terminal, "api-keys", "create", "--tenant", tenant, "--name", "x")["id"]
    _typed(terminal, "api-keys", "revoke", key)
    _typed(terminal, "dids", "assign", number, tenant)
    _typed(terminal, "dids", "release", number)
    for command in ("freeze", "resume"):
        _typed(terminal, "dialling", command)

    told = _told(witness)[before:]

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
    terminal: Terminal, witness: Evidence, acme: Tenant
) -> None:
    before = _told(witness), _told(witness, acme)

    for words in (
        ("tenants", "list"),
        ("tenants", "show", acme.id),
        ("api-keys", "list", "--platform"),
        ("dids", "list"),
        ("calls", "reconcile"),
    ):
        _typed(terminal, *words)

    assert (_told(witness), _told(witness, acme)) == before


def test_a_tenants_freeze_and_every_call_that_is_hung_up_are_told_inside_the_tenant(
    terminal: Terminal, witness: Evidence, acme: Tenant
) -> None:
    acme.profile()
    number = acme.number()["did_number"]
    calls = {acme.simulate(number)["call_id"] for _ in range(3)}
    before = len(_told(witness, acme))

    _typed(terminal, "dialling", "freeze", "--tenant", acme.id)
    _typed(terminal, "calls", "hangup", "--tenant", acme.id)

    frozen, *ended = _told(witness, acme)[before:]
    assert frozen[:3] == ("command_line", "dialling freeze", "settings")
    assert {each[1:4] for each in ended} == {("calls hangup", "call", call) for call in calls}
    assert len(ended) == 3
    assert ended[0][4]["status"] == {"from": "in_progress", "to": "completed"}


def test_what_carriers_and_jobs_do_is_nobodys_operation(
    terminal: Terminal, operator: World, witness: Evidence, acme: Tenant
) -> None:
    acme.number()
    before = len(_told(witness, acme))

    assert operator.work(acme)

    assert len(_told(witness, acme)) == before
