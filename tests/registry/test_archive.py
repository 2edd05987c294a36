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

from tests.support import houses
from tests.support.evidence import Evidence
from tests.support.houses import Builder
from tests.support.lifecycle import (
    Members,
    Terminal,
    manifest_of,
    restamped,
    rewritten,
    rows_of,
)
from tests.support.locks import held
from tests.support.premises import Premises
from tests.support.usage import use
from tests.support.world import Tenant, World, fresh_number
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
def built() -> Builder:
    """There is a tenant with rows in every table."""
    return houses.furnished


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where an archive goes."""
    return tmp_path / "acme.zip"


def _there(operator: World, tenant_id: str) -> Tenant:
    """An imported tenant, with a new key."""
    key = operator.key(tenant_id)
    return Tenant(tenant_id, operator.api(key), key)


def _states(witness: Evidence, tenant_id: str) -> dict[str, tuple[str, str | None]]:
    rows = witness.rows(
        "SELECT did_number, state, registration_status FROM public.dids WHERE tenant_id = %s",
        tenant_id,
    )
    return {number: (state, status) for number, state, status in rows}


def _jobs(witness: Evidence, tenant_id: str) -> list[tuple[str, str]]:
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
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    before = rows_of(witness, furnished.tenant.id)
    terminal.json("export", furnished.tenant.id, file)
    terminal.json("erase", furnished.tenant.id, "--yes")

    imported = terminal.json("import", file)

    assert imported["tenant_id"] != furnished.tenant.id
    assert all(before.values()), "every table was to have a row"
    arrived = rows_of(witness, imported["tenant_id"])
    told, still_told = (rows.pop("audit_entries") for rows in (before, arrived))
    assert arrived == before
    assert set(told) < set(still_told)
    assert terminal.findings() == (0, {})
    [row] = witness.rows("SELECT to_jsonb(t)::text FROM public.tenants t")
    assert furnished.word in row[0]
    assert furnished.tenant.id not in row[0]


def test_free_numbers_are_claimed_and_registered_and_the_tenant_answers(
    terminal: Terminal,
    operator: World,
    furnished: Premises,
    witness: Evidence,
    carrier: FakeTelephonyAdapter,
    file: Path,
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    terminal.json("erase", furnished.tenant.id, "--yes")

    imported = terminal.json("import", file)

    arrived = _there(operator, imported["tenant_id"])
    claimed = imported["numbers_claimed"]
    assert furnished.did_number in claimed
    assert imported["numbers_taken"] == []
    states = _states(witness, arrived.id)
    assert {states[number] for number in claimed} == {("claimed", "pending")}
    assert states[furnished.assigned_did] == ("assigned", None)
    assert states[furnished.resting_did] == ("resting", None)
    assert _jobs(witness, arrived.id) == [("phone_numbers.register", it) for it in claimed]
    operator.work(arrived)
    assert furnished.did_number in carrier.registered_numbers
    assert arrived.simulate(furnished.did_number)["status"] == "in_progress"


def _told(tenant: Tenant) -> list[tuple[str, str]]:
    """(who, what) of the tenant's whole audit, the newest first."""
    found = tenant.get("/audit", limit=100).json
    return [(each["actor"], each["operation"]) for each in found]


def test_what_others_have_is_named_and_left_to_them(
    terminal: Terminal, operator: World, furnished: Premises, witness: Evidence, file: Path
) -> None:
    before = witness.checksum(furnished.tenant.id, but="public.audit_entries")
    terminal.json("export", furnished.tenant.id, file)

    imported = terminal.json("import", file)

    assert furnished.did_number in imported["numbers_taken"]
    assert furnished.assigned_did in imported["numbers_taken"]
    assert imported["numbers_claimed"] == []
    assert (imported["keys_imported"], imported["keys_left_out"]) == (0, 2)
    assert imported["external_id_taken"] is True
    assert witness.checksum(furnished.tenant.id, but="public.audit_entries") == before
    arrived = _there(operator, imported["tenant_id"])
    numbers = arrived.get("/phone-numbers").json
    assert len(numbers) == imported["phone_numbers_deactivated"] == 2
    assert {(it["is_active"], it["registration"]["status"]) for it in numbers} == {
        (False, "unregistered")
    }
    assert terminal.json("show", arrived.id)["external_id"] is None
    assert _jobs(witness, arrived.id) == []
    assert terminal.findings() == (0, {})


def test_keys_open_the_imported_tenant_where_they_did_not_exist(
    terminal: Terminal, operator: World, furnished: Premises, file: Path
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    terminal.json("erase", furnished.tenant.id, "--yes")
    assert furnished.tenant.get().status_code == 401

    imported = terminal.json("import", file)

    assert imported["keys_imported"] == 2
    arrived = Tenant(imported["tenant_id"], furnished.tenant.api, furnished.tenant.key)
    assert arrived.get().json["id"] == imported["tenant_id"]


def test_a_copy_of_a_tenant_does_not_hear_the_recordings_that_it_shows(
    terminal: Terminal, operator: World, furnished: Premises, file: Path
) -> None:
    listen = f"/calls/{furnished.ids['call_id']}/recording"
    heard = furnished.tenant.get(listen)
    terminal.json("export", furnished.tenant.id, file)

    copy = _there(operator, terminal.json("import", file)["tenant_id"])
    back = _there(operator, terminal.json("import", file, "--replace", "--yes")["tenant_id"])

    assert heard.status_code == 200
    assert heard.data not in file.read_bytes()
    missing = copy.get(listen)
    assert (missing.status_code, missing.json["code"]) == (404, "recording-missing")
    assert back.get(listen).data == heard.data
    purged = terminal.json("erase", copy.id, "--yes")
    assert purged["removed"]["files"] == 0
    assert back.get(listen).status_code == 200


def test_a_tenant_is_put_back_as_it_was(
    terminal: Terminal, operator: World, furnished: Premises, witness: Evidence, file: Path
) -> None:
    tenant = furnished.tenant
    before = rows_of(witness, tenant.id)
    terminal.json("export", tenant.id, file)
    later = tenant.number()["did_number"]
    tenant.delete(f"/phone-numbers/{furnished.ids['phone_number_id']}")
    operator.sql(tenant, "DELETE FROM turns")
    tenant.delete(f"/api-keys/{furnished.ids['key_id']}")
    terminal.json("suspend", tenant.id)
    operator.work(tenant)

    imported = terminal.json("import", file, "--replace", "--yes")

    assert imported["tenant_id"] == tenant.id
    assert rows_of(witness, tenant.id) == before
    assert imported["kept_schema"].startswith(f"old_{tenant.ref.id.hex}_")
    states = _states(witness, tenant.id)
    assert states[furnished.did_number] == ("claimed", "pending")
    assert states[later] == ("resting", None)
    jobs = _jobs(witness, tenant.id)
    assert ("phone_numbers.register", furnished.did_number) in jobs
    assert ("phone_numbers.unregister", later) in jobs
    assert terminal.json("show", tenant.id)["status"] == "suspended"
    revoked = witness.rows(
        "SELECT revoked_at IS NOT NULL FROM public.api_keys WHERE id = %s", furnished.ids["key_id"]
    )
    assert revoked == [(True,)]
    [(turns,)] = witness.rows(f'SELECT count(*) FROM "{imported["kept_schema"]}".turns')
    assert turns == 0
    assert terminal.findings() == (0, {})


def test_a_tenant_takes_along_what_was_told_of_it_and_what_the_commands_did_is_told(
    terminal: Terminal, operator: World, furnished: Premises, file: Path
) -> None:
    told = _told(furnished.tenant)
    terminal.json("export", furnished.tenant.id, file)

    imported = terminal.json("import", file)

    arrived = _told(_there(operator, imported["tenant_id"]))
    assert {"create_tenant_key", "add_number", "assign_did"} <= {each for _, each in told}
    commands = [("command_line", "tenants import"), ("command_line", "tenants export")]
    assert arrived == [*commands, *told]
    assert _told(furnished.tenant) == [*commands[1:], *told]


def test_an_erased_tenant_leaves_word_of_who_erased_it(
    terminal: Terminal, furnished: Premises, witness: Evidence
) -> None:
    terminal.json("erase", furnished.tenant.id, "--yes")

    told = "SELECT actor, operation FROM public.audit_entries WHERE tenant_id = %s ORDER BY id DESC"
    assert witness.rows(told, furnished.tenant.id)[0] == ("command_line", "tenants erase")


def test_an_erased_tenant_comes_back_under_its_own_id(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    before = witness.checksum(furnished.tenant.id)
    terminal.json("export", furnished.tenant.id, file)
    terminal.json("erase", furnished.tenant.id, "--yes")

    imported = terminal.json("import", file, "--replace", "--yes")

    assert (imported["tenant_id"], imported["kept_schema"]) == (furnished.tenant.id, None)
    after = witness.checksum(furnished.tenant.id)
    # Where all of this is told, and what is written anew.
    changed = ("jobs", "public.dids", "public.audit_entries", "public.usage_periods")
    kept = {name for name in before if name not in changed}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_replacing_waits_for_who_is_inside_and_gives_up_in_time(
    terminal: Terminal,
    apart: db.Database,
    furnished: Premises,
    witness: Evidence,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    before = witness.checksum(furnished.tenant.id)
    monkeypatch.setattr("vca.kit.db.copy_driver.LOCK_TIMEOUT_MS", 100)

    with held(apart.dsn, f"SELECT 1 FROM {furnished.tenant.ref.schema}.calls"):
        said = terminal.refused("import", file, "--replace", "--yes")

    assert "try again" in said
    assert witness.checksum(furnished.tenant.id) == before
    assert terminal.findings() == (0, {})


def test_a_deleted_tenant_is_exported_and_imported_as_one(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    terminal.json("delete", furnished.tenant.id)
    terminal.json("export", furnished.tenant.id, file)
    terminal.json("purge", furnished.tenant.id, "--yes")

    imported = terminal.json("import", file)

    arrived = imported["tenant_id"]
    assert terminal.json("show", arrived)["status"] == "deleted"
    assert imported["numbers_claimed"] == []
    assert _states(witness, arrived)[furnished.did_number] == ("resting", None)
    terminal.json("activate", arrived)
    assert _states(witness, arrived)[furnished.did_number] == ("claimed", "pending")


def test_replacing_a_deleted_tenant_does_not_bring_it_to_life(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    terminal.json("delete", furnished.tenant.id)

    imported = terminal.json("import", file, "--replace", "--yes")

    assert imported["numbers_claimed"] == []
    assert terminal.json("show", furnished.tenant.id)["status"] == "deleted"
    states = _states(witness, furnished.tenant.id)
    assert {state for state, _ in states.values()} == {"resting"}


def test_the_manifest_vouches_for_every_table(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    told = terminal.json("export", furnished.tenant.id, file)

    assert (told["format"], told["version"]) == ("vca-tenant", 1)
    assert (told["tenant_id"], told["schema_revision"]) == (furnished.tenant.id, schema.head())
    names = {f"tenant/{name}.csv" for name in witness.tables(furnished.tenant.id)}
    by_name = {member["name"]: member for member in told["members"]}
    shared = {f"public/{name}.csv" for name in ("dids", "api_keys", "audit_entries")}
    assert by_name.keys() == names | shared
    [(turns,)] = witness.rows(f'SELECT count(*) FROM "{furnished.tenant.ref.schema}".turns')
    assert by_name["tenant/turns.csv"]["rows"] == turns > 0
    assert told["postgres"]
    assert told["tenant"]["external_id"] == furnished.word


def test_an_archive_is_its_owners_alone_and_never_overwritten_unasked(
    terminal: Terminal, furnished: Premises, file: Path
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    first = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600

    assert "--force" in terminal.refused("export", furnished.tenant.id, file)
    assert file.read_bytes() == first
    furnished.tenant.profile()
    terminal.json("export", furnished.tenant.id, file, "--force")
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


def test_an_export_shows_one_moment(apart: db.Database, furnished: Premises, file: Path) -> None:
    tenant = furnished.tenant
    before = len(tenant.get("/ai-profiles").json)

    manifest = _write(apart, tenant, file, lambda: (tenant.profile(), tenant.number()))

    rows = {member.name: member.rows for member in manifest.members}
    assert len(tenant.get("/ai-profiles").json) == before + 1
    assert rows["tenant/ai_profiles.csv"] == before
    assert rows["public/dids.csv"] == 4


def test_no_migration_comes_between(apart: db.Database, furnished: Premises, file: Path) -> None:
    def migrate() -> None:
        with psycopg2.connect(apart.dsn, options="-c lock_timeout=50") as connection:
            table = f"{furnished.tenant.ref.schema}.turns"
            connection.cursor().execute(f"ALTER TABLE {table} ADD COLUMN mood text")

    with pytest.raises(psycopg2.errors.LockNotAvailable):
        _write(apart, furnished.tenant, file, migrate)


def test_an_export_that_fails_leaves_nothing(
    apart: db.Database, furnished: Premises, file: Path
) -> None:
    def fail() -> None:
        assert [path.suffix for path in file.parent.iterdir()] == [".part"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _write(apart, furnished.tenant, file, fail)

    assert list(file.parent.iterdir()) == []


def test_there_is_no_archive_of_what_is_not_there(
    terminal: Terminal, operator: World, file: Path
) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    half = operator.tenant()
    operator.sql(half, "DROP TABLE tenant_self")

    assert "There is no such resource." in terminal.refused("export", nobody, file)
    assert "missing or incomplete" in terminal.refused("export", half.id, file)
    assert not file.exists()
    nowhere = file.parent / "nowhere" / "acme.zip"
    assert "cannot be written" in terminal.refused("export", operator.tenant().id, nowhere)


def test_another_tenants_tables_are_never_exported_as_this_ones(
    apart: db.Database, terminal: Terminal, operator: World, file: Path
) -> None:
    acme, globex = operator.tenant(), operator.tenant()
    with psycopg2.connect(apart.dsn) as connection:
        cursor = connection.cursor()
        cursor.execute(f'DROP SCHEMA "{acme.ref.schema}" CASCADE')
        cursor.execute(f'ALTER SCHEMA "{globex.ref.schema}" RENAME TO "{acme.ref.schema}"')

    terminal.refused("export", acme.id, file)

    assert not file.exists()


def test_secrets_sign_as_before_under_a_new_id_and_under_the_old_one(
    terminal: Terminal, furnished: Premises, file: Path
) -> None:
    before = _secrets(furnished.tenant.id)
    terminal.json("export", furnished.tenant.id, file)

    copy = terminal.json("import", file)
    back = terminal.json("import", file, "--replace", "--yes")

    assert [len(signing) for signing in before] == [2, 2, 1]
    assert _secrets(copy["tenant_id"]) == _secrets(back["tenant_id"]) == before
    assert copy["unreadable_columns"] == back["unreadable_columns"] == []


def test_secrets_that_our_keys_do_not_open_are_named_and_left_as_they_are(
    terminal: Terminal, furnished: Premises, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenant_session(furnished.tenant.ref) as session:
        asked = {"kind": "erasure", "number": fresh_number(), "now": clock.now()}
        requests.create_request(session, furnished.tenant.ref, **asked)
    before = _secrets(furnished.tenant.id)
    terminal.json("export", furnished.tenant.id, file)
    ours = encryption.current_keyring()
    monkeypatch.setattr(encryption, "_keyring", encryption.Keyring([os.urandom(32)]))

    copy = terminal.json("import", file)
    back = terminal.json("import", file, "--replace", "--yes")

    for imported in (copy, back):
        assert imported["unreadable_columns"] == [".".join(column) for column in TENANT_COLUMNS]
    with pytest.raises(DecryptionError):
        _secrets(copy["tenant_id"])
    monkeypatch.setattr(encryption, "_keyring", ours)
    assert _secrets(furnished.tenant.id) == before


def test_a_copy_beside_its_original_tells_nobody(
    terminal: Terminal, operator: World, furnished: Premises, file: Path
) -> None:
    operator.sql(furnished.tenant, "UPDATE webhooks SET is_active = true")
    terminal.json("export", furnished.tenant.id, file)

    copy = terminal.json("import", file)
    back = terminal.json("import", file, "--replace", "--yes")

    active = {it["is_active"] for it in _there(operator, copy["tenant_id"]).get("/webhooks").json}
    assert (copy["webhooks_deactivated"], active) == (2, {False})
    assert back["webhooks_deactivated"] == 0
    assert all(it["is_active"] for it in furnished.tenant.get("/webhooks").json)


def test_what_an_imported_tenant_was_told_long_ago_is_forgotten(
    terminal: Terminal, operator: World, furnished: Premises, file: Path
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    arrived = _there(operator, terminal.json("import", file)["tenant_id"])
    assert arrived.get("/events").json
    for table in ("events", "webhook_deliveries"):
        operator.sql(arrived, f"UPDATE {table} SET created_at = now() - interval '30 days'")

    operator.due(arrived, PURGE_JOB)

    assert operator.work(arrived).count(PURGE_JOB) == 1
    assert arrived.get("/events").json == []


@pytest.mark.parametrize("replace", [True, False])
def test_what_an_imported_tenant_has_used_is_what_its_ledger_says(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path, replace: bool
) -> None:
    months = "SELECT period, amount, kinds FROM public.usage_periods WHERE tenant_id = %s"
    tenant = furnished.tenant
    before = witness.rows(months, tenant.id)
    assert before
    terminal.json("export", tenant.id, file)
    use(tenant, 100_000)
    use(tenant, 60, at=clock.now() - timedelta(days=62))

    imported = terminal.json("import", file, *(["--replace", "--yes"] if replace else []))

    assert witness.rows(months, imported["tenant_id"]) == before
    counted = witness.rows(
        "SELECT DISTINCT task_name FROM jobs.procrastinate_jobs WHERE status = 'todo'"
        " AND args->>'tenant_id' = %s AND task_name LIKE '%%.count' ORDER BY 1",
        imported["tenant_id"],
    )
    assert counted == [("phone_numbers.count",), ("recordings.count",)]


def test_replacing_needs_a_yes_away_from_a_terminal(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    before = witness.checksum(furnished.tenant.id)

    assert "--yes" in terminal.refused("import", file, "--replace")

    assert witness.checksum(furnished.tenant.id) == before


def test_an_import_sweeps_what_was_kept_for_its_week(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    witness.rows(f"CREATE SCHEMA old_{'ab' * 16}_20200101000000")

    terminal.json("import", file)

    assert witness.rows("SELECT 1 FROM pg_namespace WHERE nspname ~ '^old_'") == []


def test_ids_follow_wherever_they_stand_and_no_other_id_changes(
    terminal: Terminal, operator: World, furnished: Premises, witness: Evidence, file: Path
) -> None:
    tenant = furnished.tenant
    operator.sql(tenant, f'UPDATE calls SET data = \'{{"of": "{tenant.id}"}}\'')
    terminal.json("export", tenant.id, file)

    arrived = terminal.json("import", file)["tenant_id"]

    schema = f"t_{UUID(arrived).hex}"
    assert witness.rows(f"SELECT DISTINCT data->>'of' FROM {schema}.calls") == [(arrived,)]
    ids = "SELECT id FROM {}.calls ORDER BY 1"
    there, here = witness.rows(ids.format(schema)), witness.rows(ids.format(tenant.ref.schema))
    assert there == here


def test_the_accounts_of_numbers_come_with_them(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    terminal.json("export", furnished.tenant.id, file)
    terminal.json("erase", furnished.tenant.id, "--yes")

    imported = terminal.json("import", file)

    kept = witness.rows(
        "SELECT d.telephony_account_id IS NOT NULL, j.args->>'telephony_account_id' IS NOT NULL"
        " FROM public.dids d JOIN jobs.procrastinate_jobs j ON j.args->>'did_number' = d.did_number"
        " WHERE d.tenant_id = %s AND j.args->>'tenant_id' = %s ORDER BY 1",
        imported["tenant_id"],
        imported["tenant_id"],
    )
    assert kept == [(False, False), (True, True)]


def test_an_archive_of_before_numbers_had_accounts_is_imported(
    terminal: Terminal, furnished: Premises, witness: Evidence, file: Path
) -> None:
    name, later = "public/dids.csv", set(COLUMNS_ADDED_LATER["dids"])
    terminal.json("export", furnished.tenant.id, file)

    def forget(members: Members) -> None:
        rows = list(csv.DictReader(io.StringIO(members[name].decode())))
        columns = [column for column in rows[0] if column not in later]
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        members[name] = out.getvalue().encode()
        manifest = manifest_of(members)
        [member] = [each for each in manifest["members"] if each["name"] == name]
        member["columns"] = columns
        restamped(members, manifest)

    old = rewritten(file, file.with_name("old.zip"), forget)
    terminal.json("erase", furnished.tenant.id, "--yes")

    imported = terminal.json("import", old)

    assert furnished.did_number in imported["numbers_claimed"]
    accounts = witness.rows("SELECT DISTINCT telephony_account_id FROM public.dids")
    assert accounts == [(None,)]
