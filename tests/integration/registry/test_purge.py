"""Tests of `flask tenants purge` and `erase`, which delete a tenant in small transactions."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support import database_templates
from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory
from tests.support.locks import open_transaction, waiting_pids
from tests.support.populated_tenant import PopulatedTenant
from tests.support.processes import BIN_FOLDER, run_program, wait_until
from tests.support.recordings import FailingStore, store_recording, stored_files
from tests.support.tenants_cli import TenantsCli, import_snapshot
from vca.kit import json, storage
from vca.kit.db import Database
from vca.kit.db.copy_driver import BulkDatabase
from vca.kit.storage import StorageError
from vca.registry import preflight
from vca.registry.tenants import lifecycle_commands
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import drop
from vca.tenancy.drop import MAX_LOCKED_RELATIONS, drop_schema
from vca.tenancy.session import public_session
from vca.tenancy.tables import list_tables

_OWNED_TABLES = ("public.dids", "public.api_keys")


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of a tenant with rows in every table."""
    return database_templates.one_populated


def _remaining_places(db_snapshot: SnapshotChecker, tenant_id: str) -> list[str]:
    """Return the names of the places that still contain data of the tenant."""
    hex_id = tenant_id.replace("-", "")
    queries = {
        "schemas": f"SELECT 1 FROM pg_namespace WHERE nspname ~ '{hex_id}'",
        "roles": f"SELECT 1 FROM pg_roles WHERE rolname ~ '{hex_id}'",
        "tenants": f"SELECT 1 FROM public.tenants WHERE id = '{tenant_id}'",
        "jobs": f"SELECT 1 FROM jobs.procrastinate_jobs WHERE args::text ~ '{tenant_id}'",
        **{name: f"SELECT 1 FROM {name} WHERE tenant_id = '{tenant_id}'" for name in _OWNED_TABLES},
    }
    return [name for name, query in queries.items() if db_snapshot.rows(query)]


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
    assert set(_remaining_places(db_snapshot, populated_tenant.tenant.id)) >= {
        "schemas",
        "tenants",
        "jobs",
        *_OWNED_TABLES,
    }

    removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    assert _remaining_places(db_snapshot, populated_tenant.tenant.id) == []
    assert removed["tables"]["calls"] == 3
    assert removed["public_rows"] == {
        "api_keys": 2,
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


def test_a_purge_resumes_after_the_recording_store_was_unavailable(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    original_store = storage.current_store()
    failing_store = FailingStore(original_store)
    storage.set_current_store(failing_store)
    try:
        failing_store.failure = StorageError("away", permanent=False)
        output = tenants_cli.invoke_failing(
            "erase", populated_tenant.tenant.id, "--yes", "--certificate", tmp_path / "early.json"
        )
        assert "recording store is unavailable" in output
        assert not (tmp_path / "early.json").exists()
        assert _remaining_places(db_snapshot, populated_tenant.tenant.id)

        failing_store.failure = None
        removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")
    finally:
        storage.set_current_store(original_store)

    assert (removed["resumed"], removed["files"]) == (True, 1)
    assert _remaining_places(db_snapshot, populated_tenant.tenant.id) == []
    assert stored_files(populated_tenant.tenant) == []


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
    assert _remaining_places(db_snapshot, populated_tenant.tenant.id) == []


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
    assert _remaining_places(db_snapshot, tenant.id) == []


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
    assert _remaining_places(db_snapshot, populated_tenant.tenant.id) == []


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
    assert _remaining_places(db_snapshot, populated_tenant.tenant.id) == []


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
    tenants_cli.app.extensions["settings"] = settings_with_roles
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

    assert _remaining_places(db_snapshot, populated_tenant.tenant.id) == []
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
