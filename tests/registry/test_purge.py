"""Purge and erase: all of a deleted tenant goes, in small transactions, and to the end."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support import houses
from tests.support.evidence import Evidence
from tests.support.houses import Builder
from tests.support.lifecycle import Terminal, everything
from tests.support.locks import held, waiting_for
from tests.support.premises import Premises
from tests.support.processes import BIN, running, until
from tests.support.recorded import Failing, files, kept
from tests.support.world import World
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
def built() -> Builder:
    """There is a tenant with rows in every table."""
    return houses.furnished


def _left(witness: Evidence, tenant_id: str) -> list[str]:
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
    terminal: Terminal, operator: World, furnished: Premises, witness: Evidence
) -> None:
    globex = operator.tenant("Globex")
    others = witness.checksum(globex.id)
    terminal.json("delete", furnished.tenant.id)
    witness.rows("UPDATE jobs.procrastinate_jobs SET status = 'doing' WHERE id % 2 = 0")
    assert set(_left(witness, furnished.tenant.id)) >= {"schemas", "tenants", "jobs", *_OWNED}

    removed = terminal.json("purge", furnished.tenant.id, "--yes")

    assert _left(witness, furnished.tenant.id) == []
    assert removed["tables"]["calls"] == 3
    assert removed["public_rows"] == {
        "api_keys": 2,
        "dids": 3,
        "usage_periods": 1,
        "tenants": 1,
    }
    assert removed["jobs"] > 0
    assert witness.checksum(globex.id) == others
    assert globex.number(did_number=furnished.did_number)["did_number"] == furnished.did_number
    assert "no such resource" in terminal.refused("purge", furnished.tenant.id, "--yes")


def test_the_recordings_go_with_the_tenant_and_the_certificate_counts_them(
    terminal: Terminal,
    furnished: Premises,
    operator: World,
    carrier: FakeTelephonyAdapter,
    tmp_path: Path,
) -> None:
    globex = operator.tenant("Globex")
    kept(globex, operator, carrier)
    assert len(files(furnished.tenant)) == 1

    terminal.json("erase", furnished.tenant.id, "--yes", "--certificate", tmp_path / "erased.json")

    certificate = json.loads((tmp_path / "erased.json").read_bytes())
    assert certificate["removed"]["files"] == 1
    assert files(furnished.tenant) == []
    assert len(files(globex)) == 1


def test_a_purge_whose_store_is_away_says_so_and_is_finished_by_running_it_again(
    terminal: Terminal, furnished: Premises, witness: Evidence, tmp_path: Path
) -> None:
    terminal.json("delete", furnished.tenant.id)
    before = storage.current_store()
    failing = Failing(before)
    storage.set_current_store(failing)
    try:
        failing.failure = StorageError("away", permanent=False)
        said = terminal.refused(
            "erase", furnished.tenant.id, "--yes", "--certificate", tmp_path / "early.json"
        )
        assert "store of recordings is away" in said
        assert not (tmp_path / "early.json").exists()
        assert _left(witness, furnished.tenant.id)

        failing.failure = None
        removed = terminal.json("purge", furnished.tenant.id, "--yes")
    finally:
        storage.set_current_store(before)

    assert (removed["resumed"], removed["files"]) == (True, 1)
    assert _left(witness, furnished.tenant.id) == []
    assert files(furnished.tenant) == []


@pytest.mark.parametrize("status", ["active", "suspended"])
def test_a_tenant_that_is_not_deleted_is_not_purged(
    terminal: Terminal, furnished: Premises, witness: Evidence, status: str
) -> None:
    if status == "suspended":
        terminal.json("suspend", furnished.tenant.id)
    before = witness.checksum(furnished.tenant.id)

    said = terminal.refused("purge", furnished.tenant.id, "--yes")

    assert f"this one is {status}" in said
    assert witness.checksum(furnished.tenant.id) == before


@pytest.mark.parametrize("command", ["purge", "erase"])
def test_away_from_a_terminal_it_takes_a_yes(
    terminal: Terminal, furnished: Premises, witness: Evidence, command: str
) -> None:
    terminal.json("delete", furnished.tenant.id)
    before = witness.checksum(furnished.tenant.id)

    assert "--yes" in terminal.refused(command, furnished.tenant.id)

    assert witness.checksum(furnished.tenant.id) == before


@pytest.mark.parametrize("command", ["purge", "erase"])
def test_at_a_terminal_a_person_is_asked(
    terminal: Terminal,
    furnished: Premises,
    witness: Evidence,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal.json("delete", furnished.tenant.id)
    before = witness.checksum(furnished.tenant.id)
    monkeypatch.setattr(typed, "_is_interactive", lambda: True)
    runner, words = terminal.app.test_cli_runner(), ["tenants", command, furnished.tenant.id]

    assert runner.invoke(args=words, input="n\n").exit_code == 1
    assert witness.checksum(furnished.tenant.id) == before

    assert runner.invoke(args=words, input="y\n").exit_code == 0
    assert _left(witness, furnished.tenant.id) == []


def test_a_killed_purge_is_finished_by_running_it_again(
    terminal: Terminal,
    furnished: Premises,
    witness: Evidence,
    apart_settings: Settings,
    tmp_path: Path,
) -> None:
    tenant = furnished.tenant
    terminal.json("delete", tenant.id)
    _kill_midway(furnished, apart_settings, tmp_path)

    remaining = witness.tables(tenant.id)
    assert "tenant_self" not in remaining
    assert "ai_profiles" in remaining
    assert "being purged" in terminal.refused("activate", tenant.id)
    assert "being purged" in terminal.refused("export", tenant.id, tmp_path / "late.zip")
    assert terminal.json("show", tenant.id)["status"] == "deleted"

    removed = terminal.json("purge", tenant.id, "--yes")

    assert removed["resumed"] is True
    assert _left(witness, tenant.id) == []


def test_the_doctor_finishes_a_killed_purge(
    terminal: Terminal,
    furnished: Premises,
    witness: Evidence,
    apart_settings: Settings,
    tmp_path: Path,
) -> None:
    terminal.json("delete", furnished.tenant.id)
    _kill_midway(furnished, apart_settings, tmp_path)

    status, found = terminal.findings()
    assert (status, list(found)) == (1, [("half_dropped", furnished.tenant.id)])

    assert terminal.findings("--repair") == (0, {})
    assert _left(witness, furnished.tenant.id) == []


def test_a_purge_that_was_killed_cannot_be_imported_over(
    terminal: Terminal,
    furnished: Premises,
    apart_settings: Settings,
    tmp_path: Path,
) -> None:
    terminal.json("export", furnished.tenant.id, tmp_path / "acme.zip")
    terminal.json("delete", furnished.tenant.id)
    _kill_midway(furnished, apart_settings, tmp_path)

    said = terminal.refused("import", tmp_path / "acme.zip", "--replace", "--yes")

    assert "being purged" in said


def test_a_killed_export_leaves_no_file(
    furnished: Premises, apart_settings: Settings, tmp_path: Path
) -> None:
    target = tmp_path / "acme.zip"
    blocked = f'LOCK TABLE "{furnished.tenant.ref.schema}".turns'

    _kill_while(blocked, ["export", furnished.tenant.id, str(target)], apart_settings, tmp_path)

    assert not target.exists()


def _kill_midway(furnished: Premises, settings: Settings, folder: Path) -> None:
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
    command = [str(BIN / "flask"), "tenants", *words]
    with held(settings.owner_dsn, blocked) as other:
        with running(command, given, folder / "output") as program:
            [pid] = until(lambda: waiting_for(other), within_s=60)
            program.kill()
        with other.cursor() as cursor:  # the server notices the end of a client only when it speaks
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


def test_no_transaction_takes_more_locks_than_it_may(apart: Database, furnished: Premises) -> None:
    sizes: list[int] = []
    schema = furnished.tenant.ref.schema

    def guard(session: object) -> None:
        with public_session(database=apart) as other:
            sizes.append(sum(table.relation_count for table in list_tables(other, schema)))

    drop_schema(BulkDatabase(apart.dsn), schema, guard=guard)

    steps = [before - after for before, after in pairwise(sizes)]
    assert len(steps) >= 4
    assert max(steps) <= MAX_LOCKED_RELATIONS
    assert sizes[-1] == 0


def test_a_tenant_that_is_brought_back_midway_is_not_dropped_any_further(
    terminal: Terminal, furnished: Premises, witness: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand, in the database: the product itself refuses."""
    tenant = furnished.tenant
    terminal.json("delete", tenant.id)
    before = witness.tables(tenant.id)

    def meanwhile(*_: object, **__: object) -> list[str]:
        witness.rows("UPDATE public.tenants SET status = 'active' WHERE id = %s", tenant.id)
        return []

    monkeypatch.setattr(drop, "drop_replaced_schemas", meanwhile)

    assert "this one is active" in terminal.refused("purge", tenant.id, "--yes")

    assert witness.tables(tenant.id) == before


def test_each_batch_may_be_stopped(apart: Database, furnished: Premises) -> None:
    asked = 0

    def guard(_: object) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drop_schema(BulkDatabase(apart.dsn), furnished.tenant.ref.schema, guard=guard)

    schema = furnished.tenant.ref.schema
    entered_by = text("SELECT to_regtype(:name)::text")
    with public_session(database=apart) as session:
        left = [table.name for table in list_tables(session, schema)]
        assert session.scalar(entered_by, {"name": f"{schema}.tenant_identity"}) is None
    assert "tenant_self" not in left
    assert "ai_profiles" in left


def test_a_schema_of_one_large_table_is_dropped_too(
    apart: Database, furnished: Premises, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop, "MAX_LOCKED_RELATIONS", 1)

    rows = drop_schema(BulkDatabase(apart.dsn), furnished.tenant.ref.schema)

    assert len(rows) == preflight.TABLES_PER_TENANT
    assert rows["turns"] > 0


def test_replaced_schemas_go_with_their_tenant(
    terminal: Terminal, furnished: Premises, witness: Evidence, tmp_path: Path
) -> None:
    terminal.json("export", furnished.tenant.id, tmp_path / "acme.zip")
    kept = terminal.json("import", tmp_path / "acme.zip", "--replace", "--yes")["kept_schema"]
    terminal.json("delete", furnished.tenant.id)

    removed = terminal.json("purge", furnished.tenant.id, "--yes")

    assert removed["kept_schemas"] == [kept]
    assert _left(witness, furnished.tenant.id) == []


def test_any_purge_sweeps_what_was_kept_for_its_week(
    terminal: Terminal, operator: World, witness: Evidence
) -> None:
    gone, kept = (f"old_{'ab' * 16}_{since}" for since in ("20200101000000", "29990101000000"))
    for name in (gone, kept):
        witness.rows(f"CREATE SCHEMA {name}")
    tenant = operator.tenant()
    terminal.json("delete", tenant.id)

    removed = terminal.json("purge", tenant.id, "--yes")

    assert removed["kept_schemas"] == [gone]
    assert witness.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^old_'") == [(kept,)]


@pytest.mark.parametrize("used", [False, True])
def test_the_role_goes_unless_something_depends_on_it(
    terminal: Terminal,
    furnished: Premises,
    witness: Evidence,
    apart_settings: Settings,
    used: bool,
) -> None:
    prefix = f"vca_pu{os.getpid()}_"
    with_roles = replace(apart_settings, tenant_roles="on", tenant_role_prefix=prefix)
    terminal.app.extensions["settings"] = with_roles
    role = furnished.tenant.ref.role(prefix)
    witness.rows(f'CREATE ROLE "{role}"')
    witness.rows(f'GRANT USAGE ON SCHEMA "{furnished.tenant.ref.schema}" TO "{role}"')
    if used:
        witness.rows(f'GRANT SELECT ON public.did_misses TO "{role}"')
    terminal.json("delete", furnished.tenant.id)

    removed = terminal.json("purge", furnished.tenant.id, "--yes")

    there = witness.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", role)
    assert (removed["role"], bool(there)) == (("kept", True) if used else ("dropped", False))
    if used:
        witness.rows(f'REVOKE ALL ON public.did_misses FROM "{role}"; DROP ROLE "{role}"')


def test_erasing_deletes_purges_and_certifies_without_personal_data(
    terminal: Terminal, furnished: Premises, witness: Evidence, tmp_path: Path
) -> None:
    target = tmp_path / "certificate.json"

    told = terminal.json("erase", furnished.tenant.id, "--yes", "--certificate", target)

    assert _left(witness, furnished.tenant.id) == []
    assert target.stat().st_mode & 0o777 == 0o600
    assert json.loads(target.read_bytes()) == told
    removed = told["removed"]
    assert removed["tenant_id"] == furnished.tenant.id
    assert (removed["tables"]["calls"], removed["schema"]) == (3, furnished.tenant.ref.schema)
    assert removed["numbers_at_carriers"] == 2
    assert told["erased_at"]
    assert any("backups" in where for where in told["may_remain"])
    content = target.read_text()
    secrets = furnished.secrets - {furnished.tenant.id}
    assert [secret for secret in secrets if secret in content] == []


def test_nothing_is_erased_when_it_could_not_be_certified(
    terminal: Terminal, furnished: Premises, witness: Evidence, tmp_path: Path
) -> None:
    target = tmp_path / "certificate.json"
    target.write_text("of another tenant")
    before = everything(witness)

    said = terminal.refused("erase", furnished.tenant.id, "--yes", "--certificate", target)

    assert "cannot be written" in said
    assert target.read_text() == "of another tenant"
    assert everything(witness) == before


def test_a_certificate_is_not_left_for_what_did_not_happen(
    terminal: Terminal, tmp_path: Path
) -> None:
    target = tmp_path / "certificate.json"
    nobody = "00000000-0000-4000-8000-000000000000"

    terminal.refused("erase", nobody, "--yes", "--certificate", target)

    assert not target.exists()
