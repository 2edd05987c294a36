"""Tests of importing an archive as a new tenant."""

import csv
import io
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.integration.registry.archive.conftest import (
    imported_tenant_with_key,
    number_states,
    pending_jobs,
)
from tests.support import admin_db
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.populated_tenant import PopulatedTenant
from tests.support.tenants_cli import (
    Members,
    TenantsCli,
    read_manifest,
    restamp_manifest,
    rewrite_archive,
    tenant_rows,
)
from vca.registry.webhooks.retention import PURGE_JOB
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.schema import TenantRef


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

    tenant = imported_tenant_with_key(template_world, imported["tenant_id"])
    claimed_numbers = imported["numbers_claimed"]
    assert populated_tenant.did_number in claimed_numbers
    assert imported["numbers_taken"] == []
    states = number_states(db_snapshot, tenant.id)
    assert {states[number] for number in claimed_numbers} == {("claimed", "pending")}
    assert states[populated_tenant.assigned_did] == ("assigned", None)
    assert states[populated_tenant.quarantined_did] == ("resting", None)
    assert pending_jobs(db_snapshot, tenant.id) == [
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
    imported_tenant = imported_tenant_with_key(template_world, imported["tenant_id"])
    numbers = imported_tenant.get("/phone-numbers").json
    assert len(numbers) == imported["phone_numbers_deactivated"] == 2
    assert {(number["is_active"], number["registration"]["status"]) for number in numbers} == {
        (False, "unregistered")
    }
    assert tenants_cli.invoke_json("show", imported_tenant.id)["external_id"] is None
    assert pending_jobs(db_snapshot, imported_tenant.id) == []
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


def test_an_import_restores_audit_entries_and_export_and_import_add_their_own(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    original_entries = _audit_operations(populated_tenant.tenant)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    imported = tenants_cli.invoke_json("import", archive_path)

    imported_entries = _audit_operations(
        imported_tenant_with_key(template_world, imported["tenant_id"])
    )
    assert {"create_tenant_key", "add_number", "assign_did"} <= {
        operation for _, operation in original_entries
    }
    commands = [("command_line", "tenants import"), ("command_line", "tenants export")]
    assert imported_entries == [*commands, *original_entries]
    assert _audit_operations(populated_tenant.tenant) == [*commands[1:], *original_entries]


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
    assert number_states(db_snapshot, imported_id)[populated_tenant.did_number] == (
        "resting",
        None,
    )
    tenants_cli.invoke_json("activate", imported_id)
    assert number_states(db_snapshot, imported_id)[populated_tenant.did_number] == (
        "claimed",
        "pending",
    )


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
        for webhook in imported_tenant_with_key(template_world, copy["tenant_id"])
        .get("/webhooks")
        .json
    }
    assert (copy["webhooks_deactivated"], copy_states) == (2, {False})
    assert restored["webhooks_deactivated"] == 0
    assert all(webhook["is_active"] for webhook in populated_tenant.tenant.get("/webhooks").json)


@pytest.mark.parametrize(("original", "status"), [("purged", "pending"), ("present", "none")])
def test_pending_mails_of_an_imported_tenant_are_sent_unless_its_original_sends_them(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
    original: str,
    status: str,
) -> None:
    template_world.sql(populated_tenant.tenant, "UPDATE messages SET mail_status = 'pending'")
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    if original == "purged":
        tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
        tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", archive_path)

    query = text(
        "SELECT count(*) FROM jobs.procrastinate_jobs"
        " WHERE task_name = 'messages.mail' AND args->>'tenant_id' = :id"
    )
    with admin_db.public_session() as session:
        job_count = session.scalar(query, {"id": imported["tenant_id"]})
    with admin_db.tenant_session(TenantRef(UUID(imported["tenant_id"]))) as session:
        statuses = list(session.scalars(text("SELECT mail_status FROM messages")))
    assert set(statuses) == {status}
    assert job_count == statuses.count("pending")


def test_old_events_of_an_imported_tenant_are_purged(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)
    tenant = imported_tenant_with_key(
        template_world, tenants_cli.invoke_json("import", archive_path)["tenant_id"]
    )
    assert tenant.get("/events").json
    for table in ("events", "webhook_deliveries"):
        template_world.sql(tenant, f"UPDATE {table} SET created_at = now() - interval '30 days'")

    template_world.make_due(tenant, PURGE_JOB)

    assert template_world.run_jobs(tenant).count(PURGE_JOB) == 1
    assert tenant.get("/events").json == []


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
    name = "public/dids.csv"
    later_columns = {
        "telephony_account_id",
        "previous_provider_type",
        "previous_account_id",
        "previous_until",
    }
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


def test_pending_analyses_of_an_imported_tenant_are_resumed(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    archive_path: Path,
) -> None:
    template_world.sql(
        populated_tenant.tenant,
        "UPDATE calls SET analysis_status = 'pending', analysis_reason = NULL, analysed_at = NULL"
        " WHERE status = 'completed' AND ai_profile_id IS NOT NULL",
    )
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, archive_path)

    imported = tenants_cli.invoke_json("import", archive_path)

    tenant = imported_tenant_with_key(template_world, imported["tenant_id"])
    statuses = {call["analysis"]["status"] for call in tenant.get("/calls").json}
    assert "pending" in statuses
    assert "calls.analyse" in template_world.run_jobs(tenant)
    analyses = [call["analysis"] for call in tenant.get("/calls").json]
    assert {"status": "none", "reason": "no_model"} in analyses
    assert "pending" not in {analysis["status"] for analysis in analyses}
