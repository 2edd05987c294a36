"""Tests of purges and exports that fail or are killed midway."""

from pathlib import Path

from tests.integration.registry.purge.conftest import remaining_places
from tests.support.db_snapshot import SnapshotChecker
from tests.support.locks import open_transaction, waiting_pids
from tests.support.populated_tenant import PopulatedTenant
from tests.support.processes import BIN_FOLDER, run_program, wait_until
from tests.support.recordings import FailingStore, stored_files
from tests.support.services import app_services, use_services
from tests.support.tenants_cli import TenantsCli
from vca.kit.storage import StorageError
from vca.settings import Settings


def test_a_purge_resumes_after_the_recording_store_was_unavailable(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    original_store = app_services().store
    failing_store = FailingStore(original_store)
    use_services(store=failing_store)
    try:
        failing_store.failure = StorageError("away", permanent=False)
        output = tenants_cli.invoke_failing(
            "erase", populated_tenant.tenant.id, "--yes", "--certificate", tmp_path / "early.json"
        )
        assert "recording store is unavailable" in output
        assert not (tmp_path / "early.json").exists()
        assert remaining_places(db_snapshot, populated_tenant.tenant.id)

        failing_store.failure = None
        removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")
    finally:
        use_services(store=original_store)

    assert (removed["resumed"], removed["files"]) == (True, 1)
    assert remaining_places(db_snapshot, populated_tenant.tenant.id) == []
    assert stored_files(populated_tenant.tenant) == []


def test_a_second_purge_finishes_a_killed_one(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    template_settings: Settings,
    tmp_path: Path,
) -> None:
    tenant = populated_tenant.tenant
    tenants_cli.invoke_json("delete", tenant.id)
    _kill_midway(populated_tenant, template_settings, tmp_path)

    remaining = db_snapshot.tables(tenant.id)
    assert "tenant_self" not in remaining
    assert "ai_profiles" in remaining
    assert "being purged" in tenants_cli.invoke_failing("activate", tenant.id)
    assert "being purged" in tenants_cli.invoke_failing("export", tenant.id, tmp_path / "late.zip")
    assert tenants_cli.invoke_json("show", tenant.id)["status"] == "deleted"

    removed = tenants_cli.invoke_json("purge", tenant.id, "--yes")

    assert removed["resumed"] is True
    assert remaining_places(db_snapshot, tenant.id) == []


def test_doctor_finishes_a_killed_purge(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    template_settings: Settings,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    _kill_midway(populated_tenant, template_settings, tmp_path)

    exit_code, findings = tenants_cli.doctor_findings()
    assert (exit_code, list(findings)) == (1, [("half_dropped", populated_tenant.tenant.id)])

    assert tenants_cli.doctor_findings("--repair") == (0, {})
    assert remaining_places(db_snapshot, populated_tenant.tenant.id) == []


def test_an_import_with_replace_fails_after_a_killed_purge(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    template_settings: Settings,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, tmp_path / "acme.zip")
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    _kill_midway(populated_tenant, template_settings, tmp_path)

    output = tenants_cli.invoke_failing("import", tmp_path / "acme.zip", "--replace", "--yes")

    assert "being purged" in output


def test_a_killed_export_leaves_no_file(
    populated_tenant: PopulatedTenant, template_settings: Settings, tmp_path: Path
) -> None:
    target = tmp_path / "acme.zip"
    blocking_statement = f'LOCK TABLE "{populated_tenant.tenant.ref.schema}".turns'

    _kill_while(
        blocking_statement,
        ["export", populated_tenant.tenant.id, str(target)],
        template_settings,
        tmp_path,
    )

    assert not target.exists()


def _kill_midway(populated_tenant: PopulatedTenant, settings: Settings, folder: Path) -> None:
    """Purge in another process, and kill it when it has dropped only some of the tables."""
    blocking_query = f'SELECT 1 FROM "{populated_tenant.tenant.ref.schema}".ai_profiles'
    _kill_while(blocking_query, ["purge", populated_tenant.tenant.id, "--yes"], settings, folder)


def _kill_while(
    blocking_statement: str, arguments: list[str], settings: Settings, folder: Path
) -> None:
    environment = {
        "DATABASE_URL": settings.database_url,
        "MIGRATION_DATABASE_URL": settings.migration_database_url,
        "TENANT_ROLES": settings.tenant_roles,
        "APP_ENV": "development",
        "APP_NAME": settings.app_name,
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
    }
    command = [str(BIN_FOLDER / "flask"), "tenants", *arguments]
    with open_transaction(settings.owner_dsn, blocking_statement) as blocker:
        with run_program(command, environment, folder / "output") as program:
            [pid] = wait_until(lambda: waiting_pids(blocker), within_s=60)
            program.kill()
        # A server process notices that its client is dead only when it sends something.
        with blocker.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
