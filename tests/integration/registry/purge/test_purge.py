"""Tests of `flask tenants purge`, which deletes a tenant in small transactions."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.integration.registry.purge.conftest import OWNED_TABLES, remaining_places
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory
from tests.support.populated_tenant import PopulatedTenant
from tests.support.services import use_services
from tests.support.tenants_cli import TenantsCli
from vca.kit.db import Database
from vca.kit.db.copy_driver import BulkDatabase
from vca.registry import preflight
from vca.registry.tenants import lifecycle_commands
from vca.settings import Settings
from vca.tenancy import drop
from vca.tenancy.drop import MAX_LOCKED_RELATIONS, drop_schema
from vca.tenancy.session import public_session
from vca.tenancy.tables import list_tables


def test_a_purge_removes_all_data_of_a_deleted_tenant(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
) -> None:
    globex = template_world.tenant("Globex")
    globex_checksum = db_snapshot.checksum(globex.id)
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    db_snapshot.rows("UPDATE jobs.procrastinate_jobs SET status = 'doing' WHERE id % 2 = 0")
    assert set(remaining_places(db_snapshot, populated_tenant.tenant.id)) >= {
        "schemas",
        "tenants",
        "jobs",
        *OWNED_TABLES,
    }

    removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    assert remaining_places(db_snapshot, populated_tenant.tenant.id) == []
    assert removed["tables"]["calls"] == 3
    assert removed["public_rows"] == {
        "api_keys": 2,
        "did_permits": 0,
        "dids": 3,
        "usage_periods": 1,
        "tenants": 1,
    }
    assert removed["jobs"] > 0
    assert db_snapshot.checksum(globex.id) == globex_checksum
    assert (
        globex.number(did_number=populated_tenant.did_number)["did_number"]
        == populated_tenant.did_number
    )
    assert "no such resource" in tenants_cli.invoke_failing(
        "purge", populated_tenant.tenant.id, "--yes"
    )


@pytest.mark.parametrize("status", ["active", "suspended"])
def test_a_purge_of_a_tenant_that_is_not_deleted_fails(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    status: str,
) -> None:
    if status == "suspended":
        tenants_cli.invoke_json("suspend", populated_tenant.tenant.id)
    before = db_snapshot.checksum(populated_tenant.tenant.id)

    output = tenants_cli.invoke_failing("purge", populated_tenant.tenant.id, "--yes")

    assert f"this one is {status}" in output
    assert db_snapshot.checksum(populated_tenant.tenant.id) == before


@pytest.mark.parametrize("command", ["purge", "erase"])
def test_purge_and_erase_require_yes_without_a_terminal(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    command: str,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    before = db_snapshot.checksum(populated_tenant.tenant.id)

    assert "--yes" in tenants_cli.invoke_failing(command, populated_tenant.tenant.id)

    assert db_snapshot.checksum(populated_tenant.tenant.id) == before


@pytest.mark.parametrize("command", ["purge", "erase"])
def test_purge_and_erase_request_confirmation_at_a_terminal(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    before = db_snapshot.checksum(populated_tenant.tenant.id)
    monkeypatch.setattr(lifecycle_commands, "_is_interactive", lambda: True)
    runner = tenants_cli.app.test_cli_runner()
    arguments = ["tenants", command, populated_tenant.tenant.id]

    assert runner.invoke(args=arguments, input="n\n").exit_code == 1
    assert db_snapshot.checksum(populated_tenant.tenant.id) == before

    assert runner.invoke(args=arguments, input="y\n").exit_code == 0
    assert remaining_places(db_snapshot, populated_tenant.tenant.id) == []


def test_no_drop_transaction_locks_more_relations_than_the_limit(
    owner_database: Database, populated_tenant: PopulatedTenant
) -> None:
    sizes: list[int] = []
    schema = populated_tenant.tenant.ref.schema

    def guard(_: object) -> None:
        with public_session(database=owner_database) as session:
            sizes.append(sum(table.relation_count for table in list_tables(session, schema)))

    drop_schema(BulkDatabase(owner_database.dsn), schema, guard=guard)

    steps = [before - after for before, after in pairwise(sizes)]
    assert len(steps) >= 4
    assert max(steps) <= MAX_LOCKED_RELATIONS
    assert sizes[-1] == 0


def test_a_purge_stops_when_the_tenant_is_activated(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Update the row directly, because the commands reject the activation."""
    tenant = populated_tenant.tenant
    tenants_cli.invoke_json("delete", tenant.id)
    before = db_snapshot.tables(tenant.id)

    def activate_tenant(*_: object, **__: object) -> list[str]:
        db_snapshot.rows("UPDATE public.tenants SET status = 'active' WHERE id = %s", tenant.id)
        return []

    monkeypatch.setattr(drop, "drop_replaced_schemas", activate_tenant)

    assert "this one is active" in tenants_cli.invoke_failing("purge", tenant.id, "--yes")

    assert db_snapshot.tables(tenant.id) == before


def test_a_guard_stops_a_drop_between_batches(
    owner_database: Database, populated_tenant: PopulatedTenant
) -> None:
    guard_calls = 0

    def guard(_: object) -> None:
        nonlocal guard_calls
        guard_calls += 1
        if guard_calls == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drop_schema(
            BulkDatabase(owner_database.dsn), populated_tenant.tenant.ref.schema, guard=guard
        )

    schema = populated_tenant.tenant.ref.schema
    type_query = text("SELECT to_regtype(:name)::text")
    with public_session(database=owner_database) as session:
        remaining_tables = [table.name for table in list_tables(session, schema)]
        assert session.scalar(type_query, {"name": f"{schema}.tenant_identity"}) is None
    assert "tenant_self" not in remaining_tables
    assert "ai_profiles" in remaining_tables


def test_a_table_with_more_relations_than_the_lock_limit_is_dropped(
    owner_database: Database, populated_tenant: PopulatedTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop, "MAX_LOCKED_RELATIONS", 1)

    rows = drop_schema(BulkDatabase(owner_database.dsn), populated_tenant.tenant.ref.schema)

    assert len(rows) == preflight.TABLES_PER_TENANT
    assert rows["turns"] > 0


def test_a_purge_drops_the_replaced_schemas_of_the_tenant(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, tmp_path / "acme.zip")
    replaced_schema = tenants_cli.invoke_json(
        "import", tmp_path / "acme.zip", "--replace", "--yes"
    )["kept_schema"]
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)

    removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    assert removed["kept_schemas"] == [replaced_schema]
    assert remaining_places(db_snapshot, populated_tenant.tenant.id) == []


def test_a_purge_drops_expired_replaced_schemas_of_other_tenants(
    tenants_cli: TenantsCli, template_world: Factory, db_snapshot: SnapshotChecker
) -> None:
    expired, recent = (
        f"old_{'ab' * 16}_{timestamp}" for timestamp in ("20200101000000", "29990101000000")
    )
    for name in (expired, recent):
        db_snapshot.rows(f"CREATE SCHEMA {name}")
    tenant = template_world.tenant()
    tenants_cli.invoke_json("delete", tenant.id)

    removed = tenants_cli.invoke_json("purge", tenant.id, "--yes")

    assert removed["kept_schemas"] == [expired]
    assert db_snapshot.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^old_'") == [
        (recent,)
    ]


@pytest.mark.parametrize("is_used", [False, True])
def test_a_purge_drops_the_tenant_role_unless_an_object_depends_on_it(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    template_settings: Settings,
    is_used: bool,
) -> None:
    prefix = f"vca_pu{os.getpid()}_"
    settings_with_roles = replace(template_settings, tenant_roles="on", tenant_role_prefix=prefix)
    use_services(settings=settings_with_roles)
    role = populated_tenant.tenant.ref.role(prefix)
    db_snapshot.rows(f'CREATE ROLE "{role}"')
    db_snapshot.rows(f'GRANT USAGE ON SCHEMA "{populated_tenant.tenant.ref.schema}" TO "{role}"')
    if is_used:
        db_snapshot.rows(f'GRANT SELECT ON public.did_misses TO "{role}"')
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)

    removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    role_rows = db_snapshot.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", role)
    assert (removed["role"], bool(role_rows)) == (("kept", True) if is_used else ("dropped", False))
    if is_used:
        db_snapshot.rows(f'REVOKE ALL ON public.did_misses FROM "{role}"; DROP ROLE "{role}"')
