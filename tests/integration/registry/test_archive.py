"""Export to one archive, and import elsewhere or over the tenant: the same rows, or nothing."""

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
from vca.registry.tenants.transfer import COLUMNS_ADDED_LATER, REAPPLY_JOB
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
    """There is a tenant with rows in every table."""
    return database_templates.one_populated


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where an archive goes."""
    return tmp_path / "acme.zip"


def _there(operator: Factory, tenant_id: str) -> Tenant:
    """An imported tenant, with a new key."""
    key = operator.key(tenant_id)
    return Tenant(tenant_id, operator.api(key), key)


def _states(witness: SnapshotChecker, tenant_id: str) -> dict[str, tuple[str, str | None]]:
    rows = witness.rows(
        "SELECT did_number, state, registration_status FROM public.dids WHERE tenant_id = %s",
        tenant_id,
    )
    return {number: (state, status) for number, state, status in rows}


def _jobs(witness: SnapshotChecker, tenant_id: str) -> list[tuple[str, str]]:
    return witness.rows(
        "SELECT task_name, args->>'did_number' FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = %s AND status = 'todo' AND task_name <> ALL (%s)"
        " AND task_name NOT LIKE '%%.count' ORDER BY 1, 2",
        tenant_id,
        [PURGE_JOB, REAPPLY_JOB],
    )


def _secrets(tenant_id: str) -> list[tuple[str, ...]]:
    """Those that sign what a tenant's webhooks are sent, and last what its numbers' are asked."""
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


def test_under_a_new_id_all_rows_are_the_same_but_for_whose_they_are(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    before = tenant_rows(db_snapshot, populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", file)

    assert imported["tenant_id"] != populated_tenant.tenant.id
    assert all(before.values()), "every table was to have a row"
    arrived = tenant_rows(db_snapshot, imported["tenant_id"])
    told, still_told = (rows.pop("audit_entries") for rows in (before, arrived))
    assert arrived == before
    assert set(told) < set(still_told)
    assert tenants_cli.doctor_findings() == (0, {})
    [row] = db_snapshot.rows("SELECT to_jsonb(t)::text FROM public.tenants t")
    assert populated_tenant.marker in row[0]
    assert populated_tenant.tenant.id not in row[0]


def test_free_numbers_are_claimed_and_registered_and_the_tenant_answers(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    carrier: FakeTelephonyAdapter,
    file: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", file)

    arrived = _there(template_world, imported["tenant_id"])
    claimed = imported["numbers_claimed"]
    assert populated_tenant.did_number in claimed
    assert imported["numbers_taken"] == []
    states = _states(db_snapshot, arrived.id)
    assert {states[number] for number in claimed} == {("claimed", "pending")}
    assert states[populated_tenant.assigned_did] == ("assigned", None)
    assert states[populated_tenant.quarantined_did] == ("resting", None)
    assert _jobs(db_snapshot, arrived.id) == [("phone_numbers.register", it) for it in claimed]
    template_world.run_jobs(arrived)
    assert populated_tenant.did_number in carrier.registered_numbers
    assert arrived.simulate(populated_tenant.did_number)["status"] == "in_progress"


def _told(tenant: Tenant) -> list[tuple[str, str]]:
    """(who, what) of the tenant's whole audit, the newest first."""
    found = tenant.get("/audit", limit=100).json
    return [(each["actor"], each["operation"]) for each in found]


def test_what_others_have_is_named_and_left_to_them(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    before = db_snapshot.checksum(populated_tenant.tenant.id, except_table="public.audit_entries")
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)

    imported = tenants_cli.invoke_json("import", file)

    assert populated_tenant.did_number in imported["numbers_taken"]
    assert populated_tenant.assigned_did in imported["numbers_taken"]
    assert imported["numbers_claimed"] == []
    assert (imported["keys_imported"], imported["keys_left_out"]) == (0, 2)
    assert imported["external_id_taken"] is True
    assert (
        db_snapshot.checksum(populated_tenant.tenant.id, except_table="public.audit_entries")
        == before
    )
    arrived = _there(template_world, imported["tenant_id"])
    numbers = arrived.get("/phone-numbers").json
    assert len(numbers) == imported["phone_numbers_deactivated"] == 2
    assert {(it["is_active"], it["registration"]["status"]) for it in numbers} == {
        (False, "unregistered")
    }
    assert tenants_cli.invoke_json("show", arrived.id)["external_id"] is None
    assert _jobs(db_snapshot, arrived.id) == []
    assert tenants_cli.doctor_findings() == (0, {})


def test_keys_open_the_imported_tenant_where_they_did_not_exist(
    tenants_cli: TenantsCli, template_world: Factory, populated_tenant: PopulatedTenant, file: Path
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")
    assert populated_tenant.tenant.get().status_code == 401

    imported = tenants_cli.invoke_json("import", file)

    assert imported["keys_imported"] == 2
    arrived = Tenant(
        imported["tenant_id"], populated_tenant.tenant.api, populated_tenant.tenant.key
    )
    assert arrived.get().json["id"] == imported["tenant_id"]


def test_a_copy_of_a_tenant_does_not_hear_the_recordings_that_it_shows(
    tenants_cli: TenantsCli, template_world: Factory, populated_tenant: PopulatedTenant, file: Path
) -> None:
    listen = f"/calls/{populated_tenant.ids['call_id']}/recording"
    heard = populated_tenant.tenant.get(listen)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)

    copy = _there(template_world, tenants_cli.invoke_json("import", file)["tenant_id"])
    back = _there(
        template_world, tenants_cli.invoke_json("import", file, "--replace", "--yes")["tenant_id"]
    )

    assert heard.status_code == 200
    assert heard.data not in file.read_bytes()
    missing = copy.get(listen)
    assert (missing.status_code, missing.json["code"]) == (404, "recording-missing")
    assert back.get(listen).data == heard.data
    purged = tenants_cli.invoke_json("erase", copy.id, "--yes")
    assert purged["removed"]["files"] == 0
    assert back.get(listen).status_code == 200


def test_a_tenant_is_put_back_as_it_was(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    tenant = populated_tenant.tenant
    before = tenant_rows(db_snapshot, tenant.id)
    tenants_cli.invoke_json("export", tenant.id, file)
    later = tenant.number()["did_number"]
    tenant.delete(f"/phone-numbers/{populated_tenant.ids['phone_number_id']}")
    template_world.sql(tenant, "DELETE FROM turns")
    tenant.delete(f"/api-keys/{populated_tenant.ids['key_id']}")
    tenants_cli.invoke_json("suspend", tenant.id)
    template_world.run_jobs(tenant)

    imported = tenants_cli.invoke_json("import", file, "--replace", "--yes")

    assert imported["tenant_id"] == tenant.id
    assert tenant_rows(db_snapshot, tenant.id) == before
    assert imported["kept_schema"].startswith(f"old_{tenant.ref.id.hex}_")
    states = _states(db_snapshot, tenant.id)
    assert states[populated_tenant.did_number] == ("claimed", "pending")
    assert states[later] == ("resting", None)
    jobs = _jobs(db_snapshot, tenant.id)
    assert ("phone_numbers.register", populated_tenant.did_number) in jobs
    assert ("phone_numbers.unregister", later) in jobs
    assert tenants_cli.invoke_json("show", tenant.id)["status"] == "suspended"
    revoked = db_snapshot.rows(
        "SELECT revoked_at IS NOT NULL FROM public.api_keys WHERE id = %s",
        populated_tenant.ids["key_id"],
    )
    assert revoked == [(True,)]
    [(turns,)] = db_snapshot.rows(f'SELECT count(*) FROM "{imported["kept_schema"]}".turns')
    assert turns == 0
    assert tenants_cli.doctor_findings() == (0, {})


def test_a_tenant_takes_along_what_was_told_of_it_and_what_the_commands_did_is_told(
    tenants_cli: TenantsCli, template_world: Factory, populated_tenant: PopulatedTenant, file: Path
) -> None:
    told = _told(populated_tenant.tenant)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)

    imported = tenants_cli.invoke_json("import", file)

    arrived = _told(_there(template_world, imported["tenant_id"]))
    assert {"create_tenant_key", "add_number", "assign_did"} <= {each for _, each in told}
    commands = [("command_line", "tenants import"), ("command_line", "tenants export")]
    assert arrived == [*commands, *told]
    assert _told(populated_tenant.tenant) == [*commands[1:], *told]


def test_an_erased_tenant_leaves_word_of_who_erased_it(
    tenants_cli: TenantsCli, populated_tenant: PopulatedTenant, db_snapshot: SnapshotChecker
) -> None:
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    told = "SELECT actor, operation FROM public.audit_entries WHERE tenant_id = %s ORDER BY id DESC"
    assert db_snapshot.rows(told, populated_tenant.tenant.id)[0] == (
        "command_line",
        "tenants erase",
    )


def test_an_erased_tenant_comes_back_under_its_own_id(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    before = db_snapshot.checksum(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", file, "--replace", "--yes")

    assert (imported["tenant_id"], imported["kept_schema"]) == (populated_tenant.tenant.id, None)
    after = db_snapshot.checksum(populated_tenant.tenant.id)
    # Where all of this is told, and what is written anew.
    changed = ("jobs", "public.dids", "public.audit_entries", "public.usage_periods")
    kept = {name for name in before if name not in changed}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_replacing_waits_for_who_is_inside_and_gives_up_in_time(
    tenants_cli: TenantsCli,
    owner_database: db.Database,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    before = db_snapshot.checksum(populated_tenant.tenant.id)
    monkeypatch.setattr("vca.kit.db.copy_driver.LOCK_TIMEOUT_MS", 100)

    with open_transaction(
        owner_database.dsn, f"SELECT 1 FROM {populated_tenant.tenant.ref.schema}.calls"
    ):
        said = tenants_cli.invoke_failing("import", file, "--replace", "--yes")

    assert "Try again" in said
    assert db_snapshot.checksum(populated_tenant.tenant.id) == before
    assert tenants_cli.doctor_findings() == (0, {})


def test_a_deleted_tenant_is_exported_and_imported_as_one(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    tenants_cli.invoke_json("purge", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", file)

    arrived = imported["tenant_id"]
    assert tenants_cli.invoke_json("show", arrived)["status"] == "deleted"
    assert imported["numbers_claimed"] == []
    assert _states(db_snapshot, arrived)[populated_tenant.did_number] == ("resting", None)
    tenants_cli.invoke_json("activate", arrived)
    assert _states(db_snapshot, arrived)[populated_tenant.did_number] == ("claimed", "pending")


def test_replacing_a_deleted_tenant_does_not_bring_it_to_life(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    tenants_cli.invoke_json("delete", populated_tenant.tenant.id)

    imported = tenants_cli.invoke_json("import", file, "--replace", "--yes")

    assert imported["numbers_claimed"] == []
    assert tenants_cli.invoke_json("show", populated_tenant.tenant.id)["status"] == "deleted"
    states = _states(db_snapshot, populated_tenant.tenant.id)
    assert {state for state, _ in states.values()} == {"resting"}


def test_the_manifest_vouches_for_every_table(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    told = tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)

    assert (told["format"], told["version"]) == ("vca-tenant", 1)
    assert (told["tenant_id"], told["schema_revision"]) == (
        populated_tenant.tenant.id,
        schema.head(),
    )
    names = {f"tenant/{name}.csv" for name in db_snapshot.tables(populated_tenant.tenant.id)}
    by_name = {member["name"]: member for member in told["members"]}
    shared = {f"public/{name}.csv" for name in ("dids", "api_keys", "audit_entries")}
    assert by_name.keys() == names | shared
    [(turns,)] = db_snapshot.rows(
        f'SELECT count(*) FROM "{populated_tenant.tenant.ref.schema}".turns'
    )
    assert by_name["tenant/turns.csv"]["rows"] == turns > 0
    assert told["postgres"]
    assert told["tenant"]["external_id"] == populated_tenant.marker


def test_an_archive_is_its_owners_alone_and_never_overwritten_unasked(
    tenants_cli: TenantsCli, populated_tenant: PopulatedTenant, file: Path
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    first = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600

    assert "--force" in tenants_cli.invoke_failing("export", populated_tenant.tenant.id, file)
    assert file.read_bytes() == first
    populated_tenant.tenant.profile()
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file, "--force")
    assert file.read_bytes() != first
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def _write(
    apart: db.Database, tenant: Tenant, file: Path, meanwhile: Callable[[], object]
) -> archive_writer.Manifest:
    """An export with something happening after its snapshot was taken."""

    def describe(_: Session) -> ArchiveContents:
        meanwhile()
        return ArchiveContents("0001", clock.now(), {})

    bulk = BulkDatabase(apart.dsn)
    return archive_writer.write_archive(bulk, tenant.ref, file, describe=describe, shared=("dids",))


def test_an_export_shows_one_moment(
    owner_database: db.Database, populated_tenant: PopulatedTenant, file: Path
) -> None:
    tenant = populated_tenant.tenant
    before = len(tenant.get("/ai-profiles").json)

    manifest = _write(owner_database, tenant, file, lambda: (tenant.profile(), tenant.number()))

    rows = {member.name: member.rows for member in manifest.members}
    assert len(tenant.get("/ai-profiles").json) == before + 1
    assert rows["tenant/ai_profiles.csv"] == before
    assert rows["public/dids.csv"] == 4


def test_no_migration_comes_between(
    owner_database: db.Database, populated_tenant: PopulatedTenant, file: Path
) -> None:
    def migrate() -> None:
        with psycopg2.connect(owner_database.dsn, options="-c lock_timeout=50") as connection:
            table = f"{populated_tenant.tenant.ref.schema}.turns"
            connection.cursor().execute(f"ALTER TABLE {table} ADD COLUMN mood text")

    with pytest.raises(psycopg2.errors.LockNotAvailable):
        _write(owner_database, populated_tenant.tenant, file, migrate)


def test_an_export_that_fails_leaves_nothing(
    owner_database: db.Database, populated_tenant: PopulatedTenant, file: Path
) -> None:
    def fail() -> None:
        assert [path.suffix for path in file.parent.iterdir()] == [".part"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _write(owner_database, populated_tenant.tenant, file, fail)

    assert list(file.parent.iterdir()) == []


def test_there_is_no_archive_of_what_is_not_there(
    tenants_cli: TenantsCli, template_world: Factory, file: Path
) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    half = template_world.tenant()
    template_world.sql(half, "DROP TABLE tenant_self")

    assert "There is no such resource." in tenants_cli.invoke_failing("export", nobody, file)
    assert "missing or incomplete" in tenants_cli.invoke_failing("export", half.id, file)
    assert not file.exists()
    nowhere = file.parent / "nowhere" / "acme.zip"
    assert "cannot be written" in tenants_cli.invoke_failing(
        "export", template_world.tenant().id, nowhere
    )


def test_another_tenants_tables_are_never_exported_as_this_ones(
    owner_database: db.Database, tenants_cli: TenantsCli, template_world: Factory, file: Path
) -> None:
    acme, globex = template_world.tenant(), template_world.tenant()
    with psycopg2.connect(owner_database.dsn) as connection:
        cursor = connection.cursor()
        cursor.execute(f'DROP SCHEMA "{acme.ref.schema}" CASCADE')
        cursor.execute(f'ALTER SCHEMA "{globex.ref.schema}" RENAME TO "{acme.ref.schema}"')

    tenants_cli.invoke_failing("export", acme.id, file)

    assert not file.exists()


def test_secrets_sign_as_before_under_a_new_id_and_under_the_old_one(
    tenants_cli: TenantsCli, populated_tenant: PopulatedTenant, file: Path
) -> None:
    before = _secrets(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)

    copy = tenants_cli.invoke_json("import", file)
    back = tenants_cli.invoke_json("import", file, "--replace", "--yes")

    assert [len(signing) for signing in before] == [2, 2, 1]
    assert _secrets(copy["tenant_id"]) == _secrets(back["tenant_id"]) == before
    assert copy["unreadable_columns"] == back["unreadable_columns"] == []


def test_secrets_that_our_keys_do_not_open_are_named_and_left_as_they_are(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tenant_session(populated_tenant.tenant.ref) as session:
        asked = {"kind": "erasure", "number": fresh_number(), "now": clock.now()}
        requests.create_request(session, populated_tenant.tenant.ref, **asked)
    before = _secrets(populated_tenant.tenant.id)
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    ours = encryption.current_keyring()
    monkeypatch.setattr(encryption, "_keyring", encryption.Keyring([os.urandom(32)]))

    copy = tenants_cli.invoke_json("import", file)
    back = tenants_cli.invoke_json("import", file, "--replace", "--yes")

    for imported in (copy, back):
        assert imported["unreadable_columns"] == [".".join(column) for column in TENANT_COLUMNS]
    with pytest.raises(DecryptionError):
        _secrets(copy["tenant_id"])
    monkeypatch.setattr(encryption, "_keyring", ours)
    assert _secrets(populated_tenant.tenant.id) == before


def test_a_copy_beside_its_original_tells_nobody(
    tenants_cli: TenantsCli, template_world: Factory, populated_tenant: PopulatedTenant, file: Path
) -> None:
    template_world.sql(populated_tenant.tenant, "UPDATE webhooks SET is_active = true")
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)

    copy = tenants_cli.invoke_json("import", file)
    back = tenants_cli.invoke_json("import", file, "--replace", "--yes")

    active = {
        it["is_active"] for it in _there(template_world, copy["tenant_id"]).get("/webhooks").json
    }
    assert (copy["webhooks_deactivated"], active) == (2, {False})
    assert back["webhooks_deactivated"] == 0
    assert all(it["is_active"] for it in populated_tenant.tenant.get("/webhooks").json)


def test_what_an_imported_tenant_was_told_long_ago_is_forgotten(
    tenants_cli: TenantsCli, template_world: Factory, populated_tenant: PopulatedTenant, file: Path
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    arrived = _there(template_world, tenants_cli.invoke_json("import", file)["tenant_id"])
    assert arrived.get("/events").json
    for table in ("events", "webhook_deliveries"):
        template_world.sql(arrived, f"UPDATE {table} SET created_at = now() - interval '30 days'")

    template_world.make_due(arrived, PURGE_JOB)

    assert template_world.run_jobs(arrived).count(PURGE_JOB) == 1
    assert arrived.get("/events").json == []


@pytest.mark.parametrize("replace", [True, False])
def test_what_an_imported_tenant_has_used_is_what_its_ledger_says(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
    replace: bool,
) -> None:
    months = "SELECT period, amount, kinds FROM public.usage_periods WHERE tenant_id = %s"
    tenant = populated_tenant.tenant
    before = db_snapshot.rows(months, tenant.id)
    assert before
    tenants_cli.invoke_json("export", tenant.id, file)
    record_usage(tenant, 100_000)
    record_usage(tenant, 60, used_at=clock.now() - timedelta(days=62))

    imported = tenants_cli.invoke_json("import", file, *(["--replace", "--yes"] if replace else []))

    assert db_snapshot.rows(months, imported["tenant_id"]) == before
    counted = db_snapshot.rows(
        "SELECT DISTINCT task_name FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND args->>'tenant_id' = %s AND task_name LIKE '%%.count' ORDER BY 1",
        imported["tenant_id"],
    )
    assert counted == [("phone_numbers.count",), ("recordings.count",)]


def test_replacing_needs_a_yes_away_from_a_terminal(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    before = db_snapshot.checksum(populated_tenant.tenant.id)

    assert "--yes" in tenants_cli.invoke_failing("import", file, "--replace")

    assert db_snapshot.checksum(populated_tenant.tenant.id) == before


def test_an_import_sweeps_what_was_kept_for_its_week(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    db_snapshot.rows(f"CREATE SCHEMA old_{'ab' * 16}_20200101000000")

    tenants_cli.invoke_json("import", file)

    assert db_snapshot.rows("SELECT 1 FROM pg_namespace WHERE nspname ~ '^old_'") == []


def test_ids_follow_wherever_they_stand_and_no_other_id_changes(
    tenants_cli: TenantsCli,
    template_world: Factory,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    tenant = populated_tenant.tenant
    template_world.sql(tenant, f'UPDATE calls SET data = \'{{"of": "{tenant.id}"}}\'')
    tenants_cli.invoke_json("export", tenant.id, file)

    arrived = tenants_cli.invoke_json("import", file)["tenant_id"]

    schema = f"t_{UUID(arrived).hex}"
    assert db_snapshot.rows(f"SELECT DISTINCT data->>'of' FROM {schema}.calls") == [(arrived,)]
    ids = "SELECT id FROM {}.calls ORDER BY 1"
    there, here = (
        db_snapshot.rows(ids.format(schema)),
        db_snapshot.rows(ids.format(tenant.ref.schema)),
    )
    assert there == here


def test_the_accounts_of_numbers_come_with_them(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", file)

    kept = db_snapshot.rows(
        "SELECT d.telephony_account_id IS NOT NULL, j.args->>'telephony_account_id' IS NOT NULL"
        " FROM public.dids d JOIN jobs.procrastinate_jobs j ON j.args->>'did_number' = d.did_number"
        " WHERE d.tenant_id = %s AND j.args->>'tenant_id' = %s ORDER BY 1",
        imported["tenant_id"],
        imported["tenant_id"],
    )
    assert kept == [(False, False), (True, True)]


def test_an_archive_of_before_numbers_had_accounts_is_imported(
    tenants_cli: TenantsCli,
    populated_tenant: PopulatedTenant,
    db_snapshot: SnapshotChecker,
    file: Path,
) -> None:
    name, later = "public/dids.csv", set(COLUMNS_ADDED_LATER["dids"])
    tenants_cli.invoke_json("export", populated_tenant.tenant.id, file)

    def forget(members: Members) -> None:
        rows = list(csv.DictReader(io.StringIO(members[name].decode())))
        columns = [column for column in rows[0] if column not in later]
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        members[name] = out.getvalue().encode()
        manifest = read_manifest(members)
        [member] = [each for each in manifest["members"] if each["name"] == name]
        member["columns"] = columns
        restamp_manifest(members, manifest)

    old = rewrite_archive(file, file.with_name("old.zip"), forget)
    tenants_cli.invoke_json("erase", populated_tenant.tenant.id, "--yes")

    imported = tenants_cli.invoke_json("import", old)

    assert populated_tenant.did_number in imported["numbers_claimed"]
    accounts = db_snapshot.rows("SELECT DISTINCT telephony_account_id FROM public.dids")
    assert accounts == [(None,)]
