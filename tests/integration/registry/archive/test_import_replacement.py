"""Tests of `flask tenants import --replace`, which restores a tenant under its id."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.registry.archive.conftest import number_states, pending_jobs
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory
from tests.support.locks import open_transaction
from tests.support.populated_tenant import PopulatedTenant
from tests.support.tenants_cli import TenantsCli, tenant_rows
from tests.support.usage import record_usage
from vca.kit import clock, db


def test_an_import_with_replace_restores_the_exported_state(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    tenant = populated_tenant.tenant
    before = tenant_rows(db_snapshot, tenant.id)
    tenants_cli.invoke_json("export", tenant.id, archive_path)
    new_number = tenant.number()["did_number"]
    tenant.delete(f"/phone-numbers/{populated_tenant.ids['phone_number_id']}")
    template_world.sql(tenant, "DELETE FROM turns")
    tenant.delete(f"/api-keys/{populated_tenant.ids['key_id']}")
    tenants_cli.invoke_json("suspend", tenant.id)
    template_world.run_jobs(tenant)

    imported = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    assert imported["tenant_id"] == tenant.id
    assert tenant_rows(db_snapshot, tenant.id) == before
    assert imported["kept_schema"].startswith(f"old_{tenant.ref.id.hex}_")
    states = number_states(db_snapshot, tenant.id)
    assert states[populated_tenant.did_number] == ("claimed", "pending")
    assert states[new_number] == ("resting", None)
    jobs = pending_jobs(db_snapshot, tenant.id)
    assert ("phone_numbers.register", populated_tenant.did_number) in jobs
    assert ("phone_numbers.unregister", new_number) in jobs
    assert tenants_cli.invoke_json("show", tenant.id)["status"] == "suspended"
    revoked = db_snapshot.rows(
        "SELECT revoked_at IS NOT NULL FROM public.api_keys WHERE id = %s",
        populated_tenant.ids["key_id"],
    )
    assert revoked == [(True,)]
    [(turns,)] = db_snapshot.rows(f'SELECT count(*) FROM "{imported["kept_schema"]}".turns')
    assert turns == 0
    assert tenants_cli.doctor_findings() == (0, {})


def test_an_import_with_replace_restores_an_erased_tenant_under_its_id(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    before = db_snapshot.checksum(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    assert (imported["tenant_id"], imported["kept_schema"]) == (populated_tenant.tenant.id, None)
    after = db_snapshot.checksum(populated_tenant.tenant.id)
    # The commands write audit entries, and an import writes these rows anew.
    changed = ("jobs", "public.dids", "public.audit_entries", "public.usage_periods")
    unchanged = {name for name in before if name not in changed}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}


def test_an_import_with_replace_fails_when_it_cannot_lock_the_schema_in_time(
    tenants_cli: TenantsCli,
    owner_database: db.Database,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    before = db_snapshot.checksum(populated_tenant.tenant.id)
    monkeypatch.setattr("vca.kit.db.copy_driver.LOCK_TIMEOUT_MS", 100)

    with open_transaction(
        owner_database.dsn, f"SELECT 1 FROM {populated_tenant.tenant.ref.schema}.calls"
    ):
        output = tenants_cli.invoke_failing("import", archive_path, "--replace", "--yes")

    assert "Try again" in output
    assert db_snapshot.checksum(populated_tenant.tenant.id) == before
    assert tenants_cli.doctor_findings() == (0, {})


def test_an_import_with_replace_does_not_activate_a_deleted_tenant(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)

    imported = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    assert imported["numbers_claimed"] == []
    assert tenants_cli.invoke_json("show", populated_tenant.tenant.id)["status"] == "deleted"
    states = number_states(db_snapshot, populated_tenant.tenant.id)
    assert {state for state, _ in states.values()} == {"resting"}


@pytest.mark.parametrize("replace", [True, False])
def test_an_import_rebuilds_the_usage_periods_from_the_ledger(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
    replace: bool,
) -> None:
    usage_query = "SELECT period, amount, kinds FROM public.usage_periods WHERE tenant_id = %s"
    tenant = populated_tenant.tenant
    before = db_snapshot.rows(usage_query, tenant.id)
    assert before
    tenants_cli.invoke_json("export", tenant.id, archive_path)
    record_usage(tenant, 100_000)
    record_usage(tenant, 60, used_at=clock.now() - timedelta(days=62))

    imported = tenants_cli.invoke_json(
        "import", archive_path, *(["--replace", "--yes"] if replace else [])
    )

    assert db_snapshot.rows(usage_query, imported["tenant_id"]) == before
    metering_jobs = db_snapshot.rows(
        "SELECT DISTINCT task_name FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND args->>'tenant_id' = %s AND task_name LIKE '%%.count' ORDER BY 1",
        imported["tenant_id"],
    )
    assert metering_jobs == [("phone_numbers.count",), ("recordings.count",)]


def test_an_import_with_replace_requires_yes_without_a_terminal(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    before = db_snapshot.checksum(populated_tenant.tenant.id)

    assert "--yes" in tenants_cli.invoke_failing("import", archive_path, "--replace")

    assert db_snapshot.checksum(populated_tenant.tenant.id) == before
