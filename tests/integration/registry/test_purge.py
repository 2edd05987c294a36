"""Purge and erase: all of a deleted tenant goes, in small transactions, and to the end."""

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
from vca.registry.tenants import lifecycle_commands as typed
from vca.settings import Settings
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import drop
from vca.tenancy.drop import MAX_LOCKED_RELATIONS, drop_schema
from vca.tenancy.session import public_session
from vca.tenancy.tables import list_tables

_OWNED = ("public.dids", "public.api_keys")


@pytest.fixture
def template_builder() -> Builder:
    """There is a tenant with rows in every table."""
    return database_templates.one_populated


def _left(witness: SnapshotChecker, tenant_id: str) -> list[str]:
    """Where anything of the tenant is still found."""
    hex_id = tenant_id.replace("-", "")
    queries = {
        "schemas": f"SELECT 1 FROM pg_namespace WHERE nspname ~ '{hex_id}'",
        "roles": f"SELECT 1 FROM pg_roles WHERE rolname ~ '{hex_id}'",
        "tenants": f"SELECT 1 FROM public.tenants WHERE id = '{tenant_id}'",
        "jobs": f"SELECT 1 FROM jobs.procrastinate_jobs WHERE args::text ~ '{tenant_id}'",
        **{name: f"SELECT 1 FROM {name} WHERE tenant_id = '{tenant_id}'" for name in _OWNED},
    }
    return [where for where, query in queries.items() if witness.rows(query)]


def test_a_deleted_tenant_is_gone_for_good(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
) -> None:
    globex = template_world.tenant("Globex")
    others = db_snapshot.checksum(globex.id)
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    db_snapshot.rows("UPDATE jobs.procrastinate_jobs SET status = 'doing' WHERE id % 2 = 0")
    assert set(_left(db_snapshot, populated_tenant.tenant.id)) >= {
        "schemas",
        "tenants",
        "jobs",
        *_OWNED,
    }

    removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    assert _left(db_snapshot, populated_tenant.tenant.id) == []
    assert removed["tables"]["calls"] == 3
    assert removed["public_rows"] == {
        "api_keys": 2,
        "dids": 3,
        "usage_periods": 1,
        "tenants": 1,
    }
    assert removed["jobs"] > 0
    assert db_snapshot.checksum(globex.id) == others
    assert (
        globex.number(did_number=populated_tenant.did_number)["did_number"]
        == populated_tenant.did_number
    )
    assert "no such resource" in tenants_cli.invoke_failing(
        "purge", populated_tenant.tenant.id, "--yes"
    )


def test_the_recordings_go_with_the_tenant_and_the_certificate_counts_them(
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


def test_a_purge_whose_store_is_away_says_so_and_is_finished_by_running_it_again(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    before = storage.current_store()
    failing = FailingStore(before)
    storage.set_current_store(failing)
    try:
        failing.failure = StorageError("away", permanent=False)
        said = tenants_cli.invoke_failing(
            "erase", populated_tenant.tenant.id, "--yes", "--certificate", tmp_path / "early.json"
        )
        assert "recording store is unavailable" in said
        assert not (tmp_path / "early.json").exists()
        assert _left(db_snapshot, populated_tenant.tenant.id)

        failing.failure = None
        removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")
    finally:
        storage.set_current_store(before)

    assert (removed["resumed"], removed["files"]) == (True, 1)
    assert _left(db_snapshot, populated_tenant.tenant.id) == []
    assert stored_files(populated_tenant.tenant) == []


@pytest.mark.parametrize("status", ["active", "suspended"])
def test_a_tenant_that_is_not_deleted_is_not_purged(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    status: str,
) -> None:
    if status == "suspended":
        tenants_cli.invoke_json("suspend", populated_tenant.tenant.id)
    before = db_snapshot.checksum(populated_tenant.tenant.id)

    said = tenants_cli.invoke_failing("purge", populated_tenant.tenant.id, "--yes")

    assert f"this one is {status}" in said
    assert db_snapshot.checksum(populated_tenant.tenant.id) == before


@pytest.mark.parametrize("command", ["purge", "erase"])
def test_away_from_a_terminal_it_takes_a_yes(
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
def test_at_a_terminal_a_person_is_asked(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    before = db_snapshot.checksum(populated_tenant.tenant.id)
    monkeypatch.setattr(typed, "_is_interactive", lambda: True)
    runner, words = (
        tenants_cli.app.test_cli_runner(),
        ["tenants", command, populated_tenant.tenant.id],
    )

    assert runner.invoke(args=words, input="n\n").exit_code == 1
    assert db_snapshot.checksum(populated_tenant.tenant.id) == before

    assert runner.invoke(args=words, input="y\n").exit_code == 0
    assert _left(db_snapshot, populated_tenant.tenant.id) == []


def test_a_killed_purge_is_finished_by_running_it_again(
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
    assert _left(db_snapshot, tenant.id) == []


def test_the_doctor_finishes_a_killed_purge(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    template_settings: Settings,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    _kill_midway(populated_tenant, template_settings, tmp_path)

    status, found = tenants_cli.doctor_findings()
    assert (status, list(found)) == (1, [("half_dropped", populated_tenant.tenant.id)])

    assert tenants_cli.doctor_findings("--repair") == (0, {})
    assert _left(db_snapshot, populated_tenant.tenant.id) == []


def test_a_purge_that_was_killed_cannot_be_imported_over(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    template_settings: Settings,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, tmp_path / "acme.zip")
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    _kill_midway(populated_tenant, template_settings, tmp_path)

    said = tenants_cli.invoke_failing("import", tmp_path / "acme.zip", "--replace", "--yes")

    assert "being purged" in said


def test_a_killed_export_leaves_no_file(
    populated_tenant: PopulatedTenant, template_settings: Settings, tmp_path: Path
) -> None:
    target = tmp_path / "acme.zip"
    blocked = f'LOCK TABLE "{populated_tenant.tenant.ref.schema}".turns'

    _kill_while(
        blocked, ["export", populated_tenant.tenant.id, str(target)], template_settings, tmp_path
    )

    assert not target.exists()


def _kill_midway(furnished: PopulatedTenant, settings: Settings, folder: Path) -> None:
    """Purge in a process of its own, and end it when some tables are gone and some are not."""
    last = f'SELECT 1 FROM "{furnished.tenant.ref.schema}".ai_profiles'
    _kill_while(last, ["purge", furnished.tenant.id, "--yes"], settings, folder)


def _kill_while(blocked: str, words: list[str], settings: Settings, folder: Path) -> None:
    given = {
        "DATABASE_URL": settings.database_url,
        "MIGRATION_DATABASE_URL": settings.migration_database_url,
        "TENANT_ROLES": settings.tenant_roles,
        "APP_ENV": "development",
        "APP_NAME": settings.app_name,
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
    }
    command = [str(BIN_FOLDER / "flask"), "tenants", *words]
    with open_transaction(settings.owner_dsn, blocked) as other:
        with run_program(command, given, folder / "output") as program:
            [pid] = wait_until(lambda: waiting_pids(other), within_s=60)
            program.kill()
        with other.cursor() as cursor:  # the server notices the end of a client only when it speaks
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


def test_no_transaction_takes_more_locks_than_it_may(
    owner_database: Database, populated_tenant: PopulatedTenant
) -> None:
    sizes: list[int] = []
    schema = populated_tenant.tenant.ref.schema

    def guard(session: object) -> None:
        with public_session(database=owner_database) as other:
            sizes.append(sum(table.relation_count for table in list_tables(other, schema)))

    drop_schema(BulkDatabase(owner_database.dsn), schema, guard=guard)

    steps = [before - after for before, after in pairwise(sizes)]
    assert len(steps) >= 4
    assert max(steps) <= MAX_LOCKED_RELATIONS
    assert sizes[-1] == 0


def test_a_tenant_that_is_brought_back_midway_is_not_dropped_any_further(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By hand, in the database: the product itself refuses."""
    tenant = populated_tenant.tenant
    tenants_cli.invoke_json("delete", tenant.id)
    before = db_snapshot.tables(tenant.id)

    def meanwhile(*_: object, **__: object) -> list[str]:
        db_snapshot.rows("UPDATE public.tenants SET status = 'active' WHERE id = %s", tenant.id)
        return []

    monkeypatch.setattr(drop, "drop_replaced_schemas", meanwhile)

    assert "this one is active" in tenants_cli.invoke_failing("purge", tenant.id, "--yes")

    assert db_snapshot.tables(tenant.id) == before


def test_each_batch_may_be_stopped(
    owner_database: Database, populated_tenant: PopulatedTenant
) -> None:
    asked = 0

    def guard(_: object) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drop_schema(
            BulkDatabase(owner_database.dsn), populated_tenant.tenant.ref.schema, guard=guard
        )

    schema = populated_tenant.tenant.ref.schema
    entered_by = text("SELECT to_regtype(:name)::text")
    with public_session(database=owner_database) as session:
        left = [table.name for table in list_tables(session, schema)]
        assert session.scalar(entered_by, {"name": f"{schema}.tenant_identity"}) is None
    assert "tenant_self" not in left
    assert "ai_profiles" in left


def test_a_schema_of_one_large_table_is_dropped_too(
    owner_database: Database, populated_tenant: PopulatedTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop, "MAX_LOCKED_RELATIONS", 1)

    rows = drop_schema(BulkDatabase(owner_database.dsn), populated_tenant.tenant.ref.schema)

    assert len(rows) == preflight.TABLES_PER_TENANT
    assert rows["turns"] > 0


def test_replaced_schemas_go_with_their_tenant(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, tmp_path / "acme.zip")
    kept = tenants_cli.invoke_json("import", tmp_path / "acme.zip", "--replace", "--yes")[
        "kept_schema"
    ]
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)

    removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    assert removed["kept_schemas"] == [kept]
    assert _left(db_snapshot, populated_tenant.tenant.id) == []


def test_any_purge_sweeps_what_was_kept_for_its_week(
    tenants_cli: TenantsCli, template_world: Factory, db_snapshot: SnapshotChecker
) -> None:
    gone, kept = (f"old_{'ab' * 16}_{since}" for since in ("20200101000000", "29990101000000"))
    for name in (gone, kept):
        db_snapshot.rows(f"CREATE SCHEMA {name}")
    tenant = template_world.tenant()
    tenants_cli.invoke_json("delete", tenant.id)

    removed = tenants_cli.invoke_json("purge", tenant.id, "--yes")

    assert removed["kept_schemas"] == [gone]
    assert db_snapshot.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^old_'") == [(kept,)]


@pytest.mark.parametrize("used", [False, True])
def test_the_role_goes_unless_something_depends_on_it(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    template_settings: Settings,
    used: bool,
) -> None:
    prefix = f"vca_pu{os.getpid()}_"
    with_roles = replace(template_settings, tenant_roles="on", tenant_role_prefix=prefix)
    tenants_cli.app.extensions["settings"] = with_roles
    role = populated_tenant.tenant.ref.role(prefix)
    db_snapshot.rows(f'CREATE ROLE "{role}"')
    db_snapshot.rows(f'GRANT USAGE ON SCHEMA "{populated_tenant.tenant.ref.schema}" TO "{role}"')
    if used:
        db_snapshot.rows(f'GRANT SELECT ON public.did_misses TO "{role}"')
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)

    removed = tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    there = db_snapshot.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", role)
    assert (removed["role"], bool(there)) == (("kept", True) if used else ("dropped", False))
    if used:
        db_snapshot.rows(f'REVOKE ALL ON public.did_misses FROM "{role}"; DROP ROLE "{role}"')


def test_erasing_deletes_purges_and_certifies_without_personal_data(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    target = tmp_path / "certificate.json"

    told = tenants_cli.invoke_json(
        "erase", populated_tenant.tenant.id, "--yes", "--certificate", target
    )

    assert _left(db_snapshot, populated_tenant.tenant.id) == []
    assert target.stat().st_mode & 0o777 == 0o600
    assert json.loads(target.read_bytes()) == told
    removed = told["removed"]
    assert removed["tenant_id"] == populated_tenant.tenant.id
    assert (removed["tables"]["calls"], removed["schema"]) == (
        3,
        populated_tenant.tenant.ref.schema,
    )
    assert removed["numbers_at_carriers"] == 2
    assert told["erased_at"]
    assert any("backups" in where for where in told["may_remain"])
    content = target.read_text()
    secrets = populated_tenant.secrets - {populated_tenant.tenant.id}
    assert [secret for secret in secrets if secret in content] == []


def test_nothing_is_erased_when_it_could_not_be_certified(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    tmp_path: Path,
) -> None:
    target = tmp_path / "certificate.json"
    target.write_text("of another tenant")
    before = import_snapshot(db_snapshot)

    said = tenants_cli.invoke_failing(
        "erase", populated_tenant.tenant.id, "--yes", "--certificate", target
    )

    assert "cannot be written" in said
    assert target.read_text() == "of another tenant"
    assert import_snapshot(db_snapshot) == before


def test_a_certificate_is_not_left_for_what_did_not_happen(
    tenants_cli: TenantsCli, tmp_path: Path
) -> None:
    target = tmp_path / "certificate.json"
    nobody = "00000000-0000-4000-8000-000000000000"

    tenants_cli.invoke_failing("erase", nobody, "--yes", "--certificate", target)

    assert not target.exists()
