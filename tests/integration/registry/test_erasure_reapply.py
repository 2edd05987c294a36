"""Tests of repeating erasures after an older copy of the database is restored."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from tests.integration.calls.conftest import RealCallerCarrier
from tests.support import admin_db, erasure_fixture
from tests.support.carrier_client import CarrierClient
from tests.support.db_snapshot import SnapshotChecker
from tests.support.erasure_fixture import ErasureSubject, all_stored_files, dump_rows
from tests.support.factories import Factory, Tenant
from tests.support.recordings import stored_files
from tests.support.services import app_services, use_carriers
from tests.support.tenants_cli import TenantsCli
from vca.kit import json
from vca.kit.storage import StorageError
from vca.settings import Settings
from vca.telephony import providers


@pytest.fixture
def erasure_subject() -> ErasureSubject:
    """Return a caller with data of their own."""
    return erasure_fixture.create_subject()


@pytest.fixture
def carrier_client(template_world: Factory, settings: Settings) -> CarrierClient:
    """Return a client of a carrier whose calls are real, in the template's copy."""
    carrier = RealCallerCarrier(f"fake-carrier|{settings.secret_key}")
    use_carriers(providers.Carriers(settings)).register(carrier)
    return CarrierClient(carrier, template_world.api(None))


@pytest.fixture
def tenant_with_subject_data(
    template_world: Factory, carrier_client: CarrierClient, erasure_subject: ErasureSubject
) -> Tenant:
    """Return a tenant with data about the subject."""
    acme = template_world.tenant("Acme")
    carrier = carrier_client._carrier
    assert isinstance(carrier, RealCallerCarrier)
    erasure_fixture.create_subject_data(
        template_world,
        acme,
        carrier_client,
        carrier,
        erasure_subject,
        erasure_fixture.create_numbers(acme),
    )
    return acme


@pytest.fixture
def backup(tenant_with_subject_data: Tenant, tenants_cli: TenantsCli, tmp_path: Path) -> Path:
    """Return an archive of the tenant before any erasure."""
    archive_path = tmp_path / "acme.zip"
    tenants_cli.invoke_json("export", tenant_with_subject_data.id, archive_path)
    return archive_path


def _run_privacy(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["privacy", *arguments])


def _reapply(app: Flask, *arguments: str) -> Any:
    result = _run_privacy(app, "reapply", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _erase(tenant: Tenant, factory: Factory, subject: ErasureSubject) -> str:
    erasure_id: str = tenant.post("/privacy/erase", {"number": subject.number}).json["id"]
    factory.run_jobs(tenant)
    assert tenant.get(f"/privacy/erasures/{erasure_id}").json["status"] == "done"
    return erasure_id


def _restore(tenants_cli: TenantsCli, backup: Path) -> None:
    """Restore the rows without jobs, as a restore of the database does."""
    tenants_cli.invoke_json("import", backup, "--replace", "--yes")
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))


def test_reapply_repeats_erasures_after_a_database_restore(
    tenants_cli: TenantsCli,
    template_world: Factory,
    db_snapshot: SnapshotChecker,
    backup: Path,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
) -> None:
    erasure_id = _erase(tenant_with_subject_data, template_world, erasure_subject)
    _restore(tenants_cli, backup)
    assert len(erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data))) > 10

    result = _reapply(tenants_cli.app)

    assert result == {
        "tenants": 1,
        "erased_again": {tenant_with_subject_data.id: [erasure_id]},
        "left_out": [],
    }
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []
    assert stored_files(tenant_with_subject_data) == []
    template_world.run_jobs(tenant_with_subject_data)
    assert tenant_with_subject_data.get(f"/privacy/erasures/{erasure_id}").json["status"] == "done"


def test_an_import_repeats_erasures_without_a_command(
    tenants_cli: TenantsCli,
    template_world: Factory,
    db_snapshot: SnapshotChecker,
    backup: Path,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
) -> None:
    _erase(tenant_with_subject_data, template_world, erasure_subject)
    tenants_cli.invoke_json("import", backup, "--replace", "--yes")

    assert "privacy.reapply" in template_world.run_jobs(tenant_with_subject_data)

    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []


def test_an_import_under_a_new_id_repeats_erasures(
    tenants_cli: TenantsCli,
    template_world: Factory,
    db_snapshot: SnapshotChecker,
    backup: Path,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
) -> None:
    _erase(tenant_with_subject_data, template_world, erasure_subject)
    copy_id = tenants_cli.invoke_json("import", backup)["tenant_id"]
    copy = Tenant(copy_id, template_world.api(None), "")
    assert len(erasure_subject.texts_naming(dump_rows(db_snapshot, copy))) > 10

    template_world.run_jobs(copy)
    template_world.run_jobs(copy)

    assert erasure_subject.texts_naming(dump_rows(db_snapshot, copy)) == []


def test_reapply_leaves_other_callers_and_later_calls(
    tenants_cli: TenantsCli,
    template_world: Factory,
    carrier_client: CarrierClient,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
) -> None:
    _erase(tenant_with_subject_data, template_world, erasure_subject)
    numbers = [
        number["did_number"] for number in tenant_with_subject_data.get("/phone-numbers").json
    ]
    state = carrier_client.ring(numbers[-1], "again", erasure_subject.number)["state"]
    carrier_client.send_status("again", "completed", state=state)
    other_subject = erasure_fixture.create_subject()
    state = carrier_client.ring(numbers[-1], "other", other_subject.number)["state"]
    carrier_client.send_status("other", "completed", state=state)

    _reapply(tenants_cli.app, "--tenant", tenant_with_subject_data.id)

    callers = {call["caller_number"] for call in tenant_with_subject_data.get("/calls").json}
    assert {erasure_subject.number, other_subject.number} <= callers


def test_an_erasure_that_was_pending_in_the_backup_is_executed(
    tenants_cli: TenantsCli,
    template_world: Factory,
    db_snapshot: SnapshotChecker,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
    tmp_path: Path,
) -> None:
    tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    archive_path = tmp_path / "asked.zip"
    tenants_cli.invoke_json("export", tenant_with_subject_data.id, archive_path)
    _restore(tenants_cli, archive_path)

    _reapply(tenants_cli.app)
    template_world.run_jobs(tenant_with_subject_data)

    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []


def test_the_erasure_ledger_contains_no_personal_data(
    template_world: Factory, tenant_with_subject_data: Tenant, erasure_subject: ErasureSubject
) -> None:
    _erase(tenant_with_subject_data, template_world, erasure_subject)

    [entry_path] = [
        path for path in all_stored_files() if tenant_with_subject_data.ref.id.hex in str(path)
    ]
    entry = json.loads(entry_path.read_bytes())
    assert set(entry) == {"id", "tenant_id", "number_hash", "asked_at", "erased_at", "removed"}
    assert erasure_subject.texts_naming([entry_path.read_text()]) == []
    assert UUID(entry["tenant_id"]) == tenant_with_subject_data.ref.id
    assert entry["removed"]["calls"] == 3


def test_reapply_reports_an_unavailable_ledger_without_a_traceback(
    tenants_cli: TenantsCli, tenant_with_subject_data: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_storage_error(*_: object) -> None:
        raise StorageError("away", permanent=False)

    monkeypatch.setattr(type(app_services().store), "keys", raise_storage_error)

    result = _run_privacy(tenants_cli.app, "reapply")

    assert result.exit_code == 1
    assert "erasure ledger cannot be reached" in result.output
    assert "Traceback" not in result.output
