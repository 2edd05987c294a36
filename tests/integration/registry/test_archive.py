"""Tests of exporting a tenant to an archive, and of importing it as a new or existing tenant."""

import csv
import io
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.support import database_templates
from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.locks import open_transaction
from tests.support.populated_tenant import PopulatedTenant
from tests.support.tenants_cli import (
    Members,
    TenantsCli,
    read_manifest,
    restamp_manifest,
    rewrite_archive,
    tenant_rows,
)
from tests.support.usage import record_usage
from vca.kit import clock, db, encryption
from vca.kit.db.copy_driver import BulkDatabase
from vca.kit.encryption import DecryptionError
from vca.registry.tenants.registry_import import REAPPLY_JOB
from vca.registry.tenants.transfer import COLUMNS_ADDED_LATER
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.retention import PURGE_JOB
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy import archive_writer, schema
from vca.tenancy.archive_writer import ArchiveContents
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.encrypted_columns import TENANT_COLUMNS
from vca.tenant.phone_numbers import decision_webhook
from vca.tenant.phone_numbers.models import PhoneNumber
from vca.tenant.privacy import requests
from vca.tenant.webhooks import tenant_scope
from vca.tenant.webhooks.models import Webhook


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of a tenant with rows in every table."""
    return database_templates.one_populated


@pytest.fixture
def archive_path(tmp_path: Path) -> Path:
    """Return the path of the archive."""
    return tmp_path / "acme.zip"


def _imported_tenant(factory: Factory, tenant_id: str) -> Tenant:
    """Return an imported tenant with a new key."""
    key = factory.key(tenant_id)
    return Tenant(tenant_id, factory.api(key), key)


def _number_states(
    db_snapshot: SnapshotChecker, tenant_id: str
) -> dict[str, tuple[str, str | None]]:
    rows = db_snapshot.rows(
        "SELECT did_number, state, registration_status FROM public.dids WHERE tenant_id = %s",
        tenant_id,
    )
    return {number: (state, status) for number, state, status in rows}


def _pending_jobs(db_snapshot: SnapshotChecker, tenant_id: str) -> list[tuple[str, str]]:
    return db_snapshot.rows(
        "SELECT task_name, args->>'did_number' FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = %s AND status = 'todo' AND task_name <> ALL (%s)"
        " AND task_name NOT LIKE '%%.count' ORDER BY 1, 2",
        tenant_id,
        [PURGE_JOB, REAPPLY_JOB],
    )


def _signing_secrets(tenant_id: str) -> list[tuple[str, ...]]:
    """Return the signing secrets of a tenant's webhooks and of its decision webhooks, in order."""
    tenant, now = TenantRef(UUID(tenant_id)), clock.now()
    with tenant_session(tenant) as session:
        return [
            *(
                tuple(endpoints.signing_secrets(tenant_scope.for_tenant(tenant), row, now=now))
                for row in session.scalars(select(Webhook).order_by(Webhook.id))
            ),
            *(
                decision_webhook.signing_secrets(
                    number.decision_secret, tenant_id=tenant.id, phone_number_id=number.id, now=now
                )
                for number in session.scalars(select(PhoneNumber).order_by(PhoneNumber.id))
                if number.decision_secret is not None
            ),
        ]


def test_an_import_under_a_new_id_changes_only_the_tenant_id(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    before = tenant_rows(db_snapshot, populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", archive_path)

    assert imported["tenant_id"] != populated_tenant.tenant.id
    assert all(before.values()), "a table has no row"
    after = tenant_rows(db_snapshot, imported["tenant_id"])
    audit_before, audit_after = (rows.pop("audit_entries") for rows in (before, after))
    assert after == before
    assert set(audit_before) < set(audit_after)
    assert tenants_cli.doctor_findings() == (0, {})
    [row] = db_snapshot.rows("SELECT to_jsonb(t)::text FROM public.tenants t")
    assert populated_tenant.marker in row[0]
    assert populated_tenant.tenant.id not in row[0]


def test_an_import_claims_and_registers_free_numbers(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    carrier: FakeTelephonyAdapter,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", archive_path)

    tenant = _imported_tenant(template_world, imported["tenant_id"])
    claimed_numbers = imported["numbers_claimed"]
    assert populated_tenant.did_number in claimed_numbers
    assert imported["numbers_taken"] == []
    states = _number_states(db_snapshot, tenant.id)
    assert {states[number] for number in claimed_numbers} == {("claimed", "pending")}
    assert states[populated_tenant.assigned_did] == ("assigned", None)
    assert states[populated_tenant.quarantined_did] == ("resting", None)
    assert _pending_jobs(db_snapshot, tenant.id) == [
        ("phone_numbers.register", number) for number in claimed_numbers
    ]
    template_world.run_jobs(tenant)
    assert populated_tenant.did_number in carrier.registered_numbers
    assert tenant.simulate(populated_tenant.did_number)["status"] == "in_progress"


def _audit_operations(tenant: Tenant) -> list[tuple[str, str]]:
    """Return (actor, operation) of every audit entry of the tenant, newest first."""
    entries = tenant.get("/audit", limit=100).json
    return [(entry["actor"], entry["operation"]) for entry in entries]


def test_an_import_reports_numbers_and_keys_of_another_tenant_and_leaves_them(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    before = db_snapshot.checksum(populated_tenant.tenant.id, except_table="public.audit_entries")
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    imported = tenants_cli.invoke_json("import", archive_path)

    assert populated_tenant.did_number in imported["numbers_taken"]
    assert populated_tenant.assigned_did in imported["numbers_taken"]
    assert imported["numbers_claimed"] == []
    assert (imported["keys_imported"], imported["keys_left_out"]) == (0, 2)
    assert imported["external_id_taken"] is True
    assert (
        db_snapshot.checksum(populated_tenant.tenant.id, except_table="public.audit_entries")
        == before
    )
    imported_tenant = _imported_tenant(template_world, imported["tenant_id"])
    numbers = imported_tenant.get("/phone-numbers").json
    assert len(numbers) == imported["phone_numbers_deactivated"] == 2
    assert {(number["is_active"], number["registration"]["status"]) for number in numbers} == {
        (False, "unregistered")
    }
    assert tenants_cli.invoke_json("show", imported_tenant.id)["external_id"] is None
    assert _pending_jobs(db_snapshot, imported_tenant.id) == []
    assert tenants_cli.doctor_findings() == (0, {})


def test_imported_keys_authenticate_if_they_did_not_exist_before(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")
    assert populated_tenant.tenant.get().status_code == 401

    imported = tenants_cli.invoke_json("import", archive_path)

    assert imported["keys_imported"] == 2
    tenant = Tenant(imported["tenant_id"], populated_tenant.tenant.api, populated_tenant.tenant.key)
    assert tenant.get().json["id"] == imported["tenant_id"]


def test_a_copy_of_a_tenant_has_no_access_to_recordings_of_the_original(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    recording_path = f"/calls/{populated_tenant.ids['call_id']}/recording"
    original_audio = populated_tenant.tenant.get(recording_path)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    copy = _imported_tenant(
        template_world, tenants_cli.invoke_json("import", archive_path)["tenant_id"]
    )
    restored = _imported_tenant(
        template_world,
        tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")["tenant_id"],
    )

    assert original_audio.status_code == 200
    assert original_audio.data not in archive_path.read_bytes()
    missing = copy.get(recording_path)
    assert (missing.status_code, missing.json["code"]) == (404, "recording-missing")
    assert restored.get(recording_path).data == original_audio.data
    purged = tenants_cli.invoke_json("erase", copy.id, "--yes")
    assert purged["removed"]["files"] == 0
    assert restored.get(recording_path).status_code == 200


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
    states = _number_states(db_snapshot, tenant.id)
    assert states[populated_tenant.did_number] == ("claimed", "pending")
    assert states[new_number] == ("resting", None)
    jobs = _pending_jobs(db_snapshot, tenant.id)
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


def test_an_import_restores_audit_entries_and_export_and_import_add_their_own(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    original_entries = _audit_operations(populated_tenant.tenant)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    imported = tenants_cli.invoke_json("import", archive_path)

    imported_entries = _audit_operations(_imported_tenant(template_world, imported["tenant_id"]))
    assert {"create_tenant_key", "add_number", "assign_did"} <= {
        operation for _, operation in original_entries
    }
    commands = [("command_line", "tenants import"), ("command_line", "tenants export")]
    assert imported_entries == [*commands, *original_entries]
    assert _audit_operations(populated_tenant.tenant) == [*commands[1:], *original_entries]


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


def test_a_deleted_tenant_stays_deleted_after_export_and_import(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", archive_path)

    imported_id = imported["tenant_id"]
    assert tenants_cli.invoke_json("show", imported_id)["status"] == "deleted"
    assert imported["numbers_claimed"] == []
    assert _number_states(db_snapshot, imported_id)[populated_tenant.did_number] == (
        "resting",
        None,
    )
    tenants_cli.invoke_json("activate", imported_id)
    assert _number_states(db_snapshot, imported_id)[populated_tenant.did_number] == (
        "claimed",
        "pending",
    )


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
    states = _number_states(db_snapshot, populated_tenant.tenant.id)
    assert {state for state, _ in states.values()} == {"resting"}


def test_the_manifest_lists_every_table_with_its_row_count(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    manifest = tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    assert (manifest["format"], manifest["version"]) == ("vca-tenant", 1)
    assert (manifest["tenant_id"], manifest["schema_revision"]) == (
        populated_tenant.tenant.id,
        schema.head(),
    )
    table_names = {f"tenant/{name}.csv" for name in db_snapshot.tables(populated_tenant.tenant.id)}
    by_name = {member["name"]: member for member in manifest["members"]}
    shared = {f"public/{name}.csv" for name in ("dids", "api_keys", "audit_entries")}
    assert by_name.keys() == table_names | shared
    [(turns,)] = db_snapshot.rows(
        f'SELECT count(*) FROM "{populated_tenant.tenant.ref.schema}".turns'
    )
    assert by_name["tenant/turns.csv"]["rows"] == turns > 0
    assert manifest["postgres"]
    assert manifest["tenant"]["external_id"] == populated_tenant.marker


def test_an_archive_is_private_and_overwritten_only_with_force(
    tenants_cli: TenantsCli, populated_tenant: PopulatedTenant, archive_path: Path
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    first = archive_path.read_bytes()
    assert archive_path.stat().st_mode & 0o777 == 0o600

    assert "--force" in tenants_cli.invoke_failing(
        "export", populated_tenant.tenant.id, archive_path
    )
    assert archive_path.read_bytes() == first
    populated_tenant.tenant.profile()
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path, "--force")
    assert archive_path.read_bytes() != first
    assert [path.name for path in archive_path.parent.iterdir()] == [archive_path.name]


def _export_during(
    owner_database: db.Database,
    tenant: Tenant,
    archive_path: Path,
    after_snapshot: Callable[[], object],
) -> archive_writer.Manifest:
    """Export a tenant; call `after_snapshot` once the export has taken its snapshot."""

    def describe(_: Session) -> ArchiveContents:
        after_snapshot()
        return ArchiveContents("0001", clock.now(), {})

    bulk = BulkDatabase(owner_database.dsn)
    return archive_writer.write_archive(
        bulk, tenant.ref, archive_path, describe=describe, shared=("dids",)
    )


def test_an_export_contains_one_snapshot(
    owner_database: db.Database, populated_tenant: PopulatedTenant, archive_path: Path
) -> None:
    tenant = populated_tenant.tenant
    before = len(tenant.get("/ai-profiles").json)

    manifest = _export_during(
        owner_database, tenant, archive_path, lambda: (tenant.profile(), tenant.number())
    )

    rows = {member.name: member.rows for member in manifest.members}
    assert len(tenant.get("/ai-profiles").json) == before + 1
    assert rows["tenant/ai_profiles.csv"] == before
    assert rows["public/dids.csv"] == 4


def test_an_export_blocks_migrations_of_the_tenant(
    owner_database: db.Database, populated_tenant: PopulatedTenant, archive_path: Path
) -> None:
    def migrate() -> None:
        with psycopg2.connect(owner_database.dsn, options="-c lock_timeout=50") as connection:
            table = f"{populated_tenant.tenant.ref.schema}.turns"
            connection.cursor().execute(f"ALTER TABLE {table} ADD COLUMN mood text")

    with pytest.raises(psycopg2.errors.LockNotAvailable):
        _export_during(owner_database, populated_tenant.tenant, archive_path, migrate)


def test_a_failed_export_leaves_no_file(
    owner_database: db.Database, populated_tenant: PopulatedTenant, archive_path: Path
) -> None:
    def fail() -> None:
        assert [path.suffix for path in archive_path.parent.iterdir()] == [".part"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _export_during(owner_database, populated_tenant.tenant, archive_path, fail)

    assert list(archive_path.parent.iterdir()) == []


def test_an_export_of_a_missing_or_incomplete_tenant_fails(
    tenants_cli: TenantsCli, template_world: Factory, archive_path: Path
) -> None:
    unknown_id = "00000000-0000-4000-8000-000000000000"
    incomplete = template_world.tenant()
    template_world.sql(incomplete, "DROP TABLE tenant_self")

    assert "There is no such resource." in tenants_cli.invoke_failing(
        "export", unknown_id, archive_path
    )
    assert "missing or incomplete" in tenants_cli.invoke_failing(
        "export", incomplete.id, archive_path
    )
    assert not archive_path.exists()
    in_missing_folder = archive_path.parent / "nowhere" / "acme.zip"
    assert "cannot be written" in tenants_cli.invoke_failing(
        "export", template_world.tenant().id, in_missing_folder
    )


def test_an_export_from_another_tenants_schema_fails(
    owner_database: db.Database,
    tenants_cli: TenantsCli,
    template_world: Factory,
    archive_path: Path,
) -> None:
    acme, globex = template_world.tenant(), template_world.tenant()
    with psycopg2.connect(owner_database.dsn) as connection:
        cursor = connection.cursor()
        cursor.execute(f'DROP SCHEMA "{acme.ref.schema}" CASCADE')
        cursor.execute(f'ALTER SCHEMA "{globex.ref.schema}" RENAME TO "{acme.ref.schema}"')

    tenants_cli.invoke_failing("export", acme.id, archive_path)

    assert not archive_path.exists()


def test_an_import_preserves_signing_secrets_under_a_new_id_and_the_same_id(
    tenants_cli: TenantsCli, populated_tenant: PopulatedTenant, archive_path: Path
) -> None:
    before = _signing_secrets(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    copy = tenants_cli.invoke_json("import", archive_path)
    restored = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    assert [len(secrets) for secrets in before] == [2, 2, 1]
    assert _signing_secrets(copy["tenant_id"]) == _signing_secrets(restored["tenant_id"]) == before
    assert copy["unreadable_columns"] == restored["unreadable_columns"] == []


def test_an_import_reports_columns_that_the_keyring_cannot_decrypt(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tenant_session(populated_tenant.tenant.ref) as session:
        requests.create_request(
            session,
            populated_tenant.tenant.ref,
            kind="erasure",
            number=fresh_number(),
            now=clock.now(),
        )
    before = _signing_secrets(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    keyring = encryption.current_keyring()
    monkeypatch.setattr(encryption, "_keyring", encryption.Keyring([os.urandom(32)]))

    copy = tenants_cli.invoke_json("import", archive_path)
    restored = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    for imported in (copy, restored):
        assert imported["unreadable_columns"] == [".".join(column) for column in TENANT_COLUMNS]
    with pytest.raises(DecryptionError):
        _signing_secrets(copy["tenant_id"])
    monkeypatch.setattr(encryption, "_keyring", keyring)
    assert _signing_secrets(populated_tenant.tenant.id) == before


def test_webhooks_of_a_copy_are_inactive_while_the_original_exists(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    template_world.sql(populated_tenant.tenant, "UPDATE webhooks SET is_active = true")
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    copy = tenants_cli.invoke_json("import", archive_path)
    restored = tenants_cli.invoke_json("import", archive_path, "--replace", "--yes")

    copy_states = {
        webhook["is_active"]
        for webhook in _imported_tenant(template_world, copy["tenant_id"]).get("/webhooks").json
    }
    assert (copy["webhooks_deactivated"], copy_states) == (2, {False})
    assert restored["webhooks_deactivated"] == 0
    assert all(webhook["is_active"] for webhook in populated_tenant.tenant.get("/webhooks").json)


def test_old_events_of_an_imported_tenant_are_purged(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenant = _imported_tenant(
        template_world, tenants_cli.invoke_json("import", archive_path)["tenant_id"]
    )
    assert tenant.get("/events").json
    for table in ("events", "webhook_deliveries"):
        template_world.sql(tenant, f"UPDATE {table} SET created_at = now() - interval '30 days'")

    template_world.make_due(tenant, PURGE_JOB)

    assert template_world.run_jobs(tenant).count(PURGE_JOB) == 1
    assert tenant.get("/events").json == []


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


def test_an_import_drops_expired_replaced_schemas(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    db_snapshot.rows(f"CREATE SCHEMA old_{'ab' * 16}_20200101000000")

    tenants_cli.invoke_json("import", archive_path)

    assert db_snapshot.rows("SELECT 1 FROM pg_namespace WHERE nspname ~ '^old_'") == []


def test_an_import_replaces_the_tenant_id_in_json_values_and_no_other_id(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    tenant = populated_tenant.tenant
    template_world.sql(tenant, f'UPDATE calls SET data = \'{{"of": "{tenant.id}"}}\'')
    tenants_cli.invoke_json("export", tenant.id, archive_path)

    imported_id = tenants_cli.invoke_json("import", archive_path)["tenant_id"]

    schema = f"t_{UUID(imported_id).hex}"
    assert db_snapshot.rows(f"SELECT DISTINCT data->>'of' FROM {schema}.calls") == [(imported_id,)]
    ids_query = "SELECT id FROM {}.calls ORDER BY 1"
    assert db_snapshot.rows(ids_query.format(schema)) == db_snapshot.rows(
        ids_query.format(tenant.ref.schema)
    )


def test_imported_numbers_have_their_telephony_accounts(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", archive_path)

    has_account = db_snapshot.rows(
        "SELECT d.telephony_account_id IS NOT NULL, j.args->>'telephony_account_id' IS NOT NULL"
        " FROM public.dids d JOIN jobs.procrastinate_jobs j ON j.args->>'did_number' = d.did_number"
        " WHERE d.tenant_id = %s AND j.args->>'tenant_id' = %s ORDER BY 1",
        imported["tenant_id"],
        imported["tenant_id"],
    )
    assert has_account == [(False, False), (True, True)]


def test_an_archive_without_account_columns_is_imported(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    archive_path: Path,
) -> None:
    name, later_columns = "public/dids.csv", set(COLUMNS_ADDED_LATER["dids"])
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    def remove_later_columns(members: Members) -> None:
        rows = list(csv.DictReader(io.StringIO(members[name].decode())))
        columns = [column for column in rows[0] if column not in later_columns]
        output = io.StringIO()
        writer = csv.DictWriter(output, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        members[name] = output.getvalue().encode()
        manifest = read_manifest(members)
        [member] = [item for item in manifest["members"] if item["name"] == name]
        member["columns"] = columns
        restamp_manifest(members, manifest)

    old_archive = rewrite_archive(
        archive_path, archive_path.with_name("old.zip"), remove_later_columns
    )
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", old_archive)

    assert populated_tenant.did_number in imported["numbers_claimed"]
    accounts = db_snapshot.rows("SELECT DISTINCT telephony_account_id FROM public.dids")
    assert accounts == [(None,)]
