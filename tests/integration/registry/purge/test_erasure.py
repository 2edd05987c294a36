"""Tests of `flask tenants erase` and its certificate."""

from pathlib import Path

from tests.integration.registry.purge.conftest import remaining_places
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory
from tests.support.populated_tenant import PopulatedTenant
from tests.support.recordings import store_recording, stored_files
from tests.support.tenants_cli import TenantsCli, import_snapshot
from vca.kit import json
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter


def test_an_erasure_deletes_recordings_and_counts_them_in_the_certificate(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    template_world: Factory,
    carrier: FakeTelephonyAdapter,
    tmp_path: Path,
) -> None:
    globex = template_world.tenant("Globex")
    store_recording(globex, template_world, carrier)
    assert len(stored_files(populated_tenant.tenant)) == 1

    tenants_cli.invoke_json(
        "erase", populated_tenant.tenant.id, "--yes", "--certificate", tmp_path / "erased.json"
    )

    certificate = json.loads((tmp_path / "erased.json").read_bytes())
    assert certificate["removed"]["files"] == 1
    assert stored_files(populated_tenant.tenant) == []
    assert len(stored_files(globex)) == 1


def test_an_erasure_writes_a_certificate_without_personal_data(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    target = tmp_path / "certificate.json"

    certificate = tenants_cli.invoke_json(
        "erase", populated_tenant.tenant.id, "--yes", "--certificate", target
    )

    assert remaining_places(db_snapshot, populated_tenant.tenant.id) == []
    assert target.stat().st_mode & 0o777 == 0o600
    assert json.loads(target.read_bytes()) == certificate
    removed = certificate["removed"]
    assert removed["tenant_id"] == populated_tenant.tenant.id
    assert (removed["tables"]["calls"], removed["schema"]) == (
        3,
        populated_tenant.tenant.ref.schema,
    )
    assert removed["numbers_at_carriers"] == 2
    assert certificate["erased_at"]
    assert any("backups" in place for place in certificate["may_remain"])
    content = target.read_text()
    secrets = populated_tenant.secrets - {populated_tenant.tenant.id}
    assert [secret for secret in secrets if secret in content] == []


def test_an_erasure_fails_when_the_certificate_cannot_be_written(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    target = tmp_path / "certificate.json"
    target.write_text("of another tenant")
    before = import_snapshot(db_snapshot)

    output = tenants_cli.invoke_failing(
        "erase", populated_tenant.tenant.id, "--yes", "--certificate", target
    )

    assert "cannot be written" in output
    assert target.read_text() == "of another tenant"
    assert import_snapshot(db_snapshot) == before


def test_a_failed_erasure_leaves_no_certificate(tenants_cli: TenantsCli, tmp_path: Path) -> None:
    target = tmp_path / "certificate.json"
    unknown_id = "00000000-0000-4000-8000-000000000000"

    tenants_cli.invoke_failing("erase", unknown_id, "--yes", "--certificate", target)

    assert not target.exists()


def test_the_erasure_of_a_tenant_has_an_audit_entry(
    tenants_cli: TenantsCli, populated_tenant: PopulatedTenant, db_snapshot: SnapshotChecker
) -> None:
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    query = (
        "SELECT actor, operation FROM public.audit_entries WHERE tenant_id = %s ORDER BY id DESC"
    )
    assert db_snapshot.rows(query, populated_tenant.tenant.id)[0] == (
        "command_line",
        "tenants erase",
    )
