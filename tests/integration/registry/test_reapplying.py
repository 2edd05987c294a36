"""What was erased is erased again when an older copy of the database comes back."""

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
from tests.support.tenants_cli import TenantsCli
from vca.kit import json, storage
from vca.kit.storage import StorageError
from vca.settings import Settings
from vca.telephony import providers


@pytest.fixture
def erasure_subject() -> ErasureSubject:
    """Somebody who calls."""
    return erasure_fixture.create_subject()


@pytest.fixture
def carrier_client(template_world: Factory, settings: Settings) -> CarrierClient:
    """The line of a carrier of real callers, where the terminal is."""
    carrier = RealCallerCarrier(f"fake-carrier|{settings.secret_key}")
    providers.set_current_carriers(providers.Carriers(settings)).register(carrier)
    return CarrierClient(carrier, template_world.api(None))


@pytest.fixture
def tenant_with_subject_data(
    template_world: Factory, carrier_client: CarrierClient, erasure_subject: ErasureSubject
) -> Tenant:
    """Acme, which knows the known_caller."""
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
    """All of acme's rows as they were before anybody was erased."""
    file = tmp_path / "acme.zip"
    tenants_cli.invoke_json("export", tenant_with_subject_data.id, file)
    return file


def _privacy(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["privacy", *words])


def _reapply(app: Flask, *words: str) -> Any:
    result = _privacy(app, "reapply", "--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _erase(tenant: Tenant, operator: Factory, who: ErasureSubject) -> str:
    erasure: str = tenant.post("/privacy/erase", {"number": who.number}).json["id"]
    operator.run_jobs(tenant)
    assert tenant.get(f"/privacy/erasures/{erasure}").json["status"] == "done"
    return erasure


def _restore(terminal: TenantsCli, backup: Path) -> None:
    """Bring the rows back, as a restore of the database does: without any job."""
    terminal.invoke_json("import", backup, "--replace", "--yes")
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))


def test_a_restored_database_is_erased_again_by_a_command(
    tenants_cli: TenantsCli,
    template_world: Factory,
    db_snapshot: SnapshotChecker,
    backup: Path,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
) -> None:
    erasure = _erase(tenant_with_subject_data, template_world, erasure_subject)
    _restore(tenants_cli, backup)
    assert len(erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data))) > 10

    told = _reapply(tenants_cli.app)

    assert told == {
        "tenants": 1,
        "erased_again": {tenant_with_subject_data.id: [erasure]},
        "left_out": [],
    }
    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []
    assert stored_files(tenant_with_subject_data) == []
    template_world.run_jobs(tenant_with_subject_data)
    assert tenant_with_subject_data.get(f"/privacy/erasures/{erasure}").json["status"] == "done"


def test_an_imported_archive_is_erased_again_by_itself(
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


def test_a_copy_under_another_id_is_erased_too(
    tenants_cli: TenantsCli,
    template_world: Factory,
    db_snapshot: SnapshotChecker,
    backup: Path,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
) -> None:
    _erase(tenant_with_subject_data, template_world, erasure_subject)
    id = tenants_cli.invoke_json("import", backup)["tenant_id"]
    copy = Tenant(id, template_world.api(None), "")
    assert len(erasure_subject.texts_naming(dump_rows(db_snapshot, copy))) > 10

    template_world.run_jobs(copy)
    template_world.run_jobs(copy)

    assert erasure_subject.texts_naming(dump_rows(db_snapshot, copy)) == []


def test_who_was_not_erased_and_who_calls_again_stay(
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
    other = erasure_fixture.create_subject()
    state = carrier_client.ring(numbers[-1], "other", other.number)["state"]
    carrier_client.send_status("other", "completed", state=state)

    _reapply(tenants_cli.app, "--tenant", tenant_with_subject_data.id)

    callers = {call["caller_number"] for call in tenant_with_subject_data.get("/calls").json}
    assert {erasure_subject.number, other.number} <= callers


def test_an_erasure_that_was_not_done_when_the_copy_was_made_is_done(
    tenants_cli: TenantsCli,
    template_world: Factory,
    db_snapshot: SnapshotChecker,
    tenant_with_subject_data: Tenant,
    erasure_subject: ErasureSubject,
    tmp_path: Path,
) -> None:
    tenant_with_subject_data.post("/privacy/erase", {"number": erasure_subject.number})
    file = tmp_path / "asked.zip"
    tenants_cli.invoke_json("export", tenant_with_subject_data.id, file)
    _restore(tenants_cli, file)

    _reapply(tenants_cli.app)
    template_world.run_jobs(tenant_with_subject_data)

    assert erasure_subject.texts_naming(dump_rows(db_snapshot, tenant_with_subject_data)) == []


def test_the_ledger_tells_nobody_whom_it_is_about(
    template_world: Factory, tenant_with_subject_data: Tenant, erasure_subject: ErasureSubject
) -> None:
    _erase(tenant_with_subject_data, template_world, erasure_subject)

    [entry] = [
        path for path in all_stored_files() if tenant_with_subject_data.ref.id.hex in str(path)
    ]
    kept = json.loads(entry.read_bytes())
    assert set(kept) == {"id", "tenant_id", "number_hash", "asked_at", "erased_at", "removed"}
    assert erasure_subject.texts_naming([entry.read_text()]) == []
    assert UUID(kept["tenant_id"]) == tenant_with_subject_data.ref.id
    assert kept["removed"]["calls"] == 3


def test_a_store_that_is_away_is_said_in_a_sentence(
    tenants_cli: TenantsCli, tenant_with_subject_data: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("away", permanent=False)

    monkeypatch.setattr(type(storage.current_store()), "keys", away)

    result = _privacy(tenants_cli.app, "reapply")

    assert result.exit_code == 1
    assert "erasure ledger cannot be reached" in result.output
    assert "Traceback" not in result.output
