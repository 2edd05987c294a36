"""`flask tenants doctor`: finds what does not belong together, and sets right what is safe."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.tenants_cli import TenantsCli
from vca.settings import Settings

# Roles belong to the server, which other processes of the suite use too.
PREFIX = f"vca_dr{os.getpid()}_"


def two_tenants(world: Factory) -> tuple[Tenant, Tenant]:
    """Acme and Globex."""
    return world.tenant("Acme"), world.tenant("Globex")


@pytest.fixture
def template_builder() -> Builder:
    """There are two tenants."""
    return two_tenants


@pytest.fixture
def acme(template_payload: tuple[Tenant, Tenant]) -> Tenant:
    """A tenant where the terminal is."""
    return template_payload[0]


@pytest.fixture
def globex(template_payload: tuple[Tenant, Tenant]) -> Tenant:
    """Another one, with which nothing is wrong."""
    return template_payload[1]


@pytest.fixture
def with_roles(
    tenants_cli: TenantsCli,
    template_settings: Settings,
    db_snapshot: SnapshotChecker,
    acme: Tenant,
    globex: Tenant,
) -> Iterator[None]:
    """The deployment's roles begin with another word than when its tenants were made."""
    on = replace(template_settings, tenant_roles="on", tenant_role_prefix=PREFIX)
    tenants_cli.app.extensions["settings"] = on
    db_snapshot.rows("UPDATE public.deployment SET role_prefix = %s", PREFIX)
    yield
    for (role,) in db_snapshot.rows(f"SELECT rolname FROM pg_roles WHERE rolname ~ '^{PREFIX}'"):
        db_snapshot.rows(
            f'GRANT "{role}" TO CURRENT_USER; DROP OWNED BY "{role}"; DROP ROLE "{role}"'
        )


def test_a_house_in_order_is_said_to_be(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant
) -> None:
    acme.number()
    tenants_cli.invoke_json("delete", globex.id)

    result = tenants_cli.invoke("doctor")

    assert (result.exit_code, result.output) == (0, "No inconsistencies found.\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE turns", "- relation turns"),
        ("CREATE TABLE notes (id uuid)", "+ relation notes"),
        ("ALTER TABLE calls DROP COLUMN outcome", "- column calls.outcome text"),
        ("ALTER TABLE calls ADD COLUMN mood text", "+ column calls.mood text"),
        ("ALTER TABLE turns ALTER COLUMN sequence TYPE bigint", "turns.sequence bigint"),
        ("ALTER TABLE calls ALTER COLUMN route DROP NOT NULL", "+ column calls.route jsonb"),
        ("ALTER TABLE calls ALTER COLUMN created_at DROP DEFAULT", "default now()"),
        ("ALTER TABLE calls DROP CONSTRAINT calls_status_check", "- constraint calls"),
        ("ALTER TABLE turns DROP CONSTRAINT turns_call_id_fkey", "- constraint turns"),
        ("ALTER TABLE turns DROP CONSTRAINT turns_tenant_id_check", "- constraint turns"),
        ("DROP INDEX calls_started_at_id_idx", "- index CREATE INDEX calls_started_at"),
        ("CREATE INDEX mine ON calls (status)", "+ index CREATE INDEX mine"),
        ("ALTER TABLE calls SET UNLOGGED", "relation calls"),
        ("CREATE VIEW all_calls AS SELECT 1 AS one", "+ relation all_calls"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "+ function f"),
        ("DROP TYPE tenant_identity", "- type tenant_identity <tenant>"),
        ("ALTER TYPE tenant_identity ADD VALUE 'anybody'", "+ type tenant_identity <tenant> any"),
    ],
)
def test_a_schema_that_is_not_as_the_migrations_make_it_is_named(
    tenants_cli: TenantsCli,
    acme: Tenant,
    globex: Tenant,
    db_snapshot: SnapshotChecker,
    change: str,
    said: str,
) -> None:
    unlogged = "ALTER TABLE turns SET UNLOGGED; ALTER TABLE call_events SET UNLOGGED; "
    statement = (unlogged if "UNLOGGED" in change else "") + change
    db_snapshot.rows(f'SET search_path TO "{acme.ref.schema}"; {statement}; RESET search_path')

    status, found = tenants_cli.doctor_findings()

    assert (status, list(found)) == (1, [("drift", acme.id)])
    assert said in found["drift", acme.id]
    assert tenants_cli.doctor_findings("--repair")[0] == 1


def test_a_pin_to_another_tenant_is_drift(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows(
        f'ALTER TABLE "{acme.ref.schema}".turns DROP CONSTRAINT turns_tenant_id_check,'
        f" ADD CONSTRAINT turns_tenant_id_check CHECK (tenant_id = '{globex.id}')"
    )

    assert list(tenants_cli.doctor_findings()[1]) == [("drift", acme.id)]


def test_a_schema_that_is_ahead_of_the_code_is_not_judged(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows(f'ALTER TABLE "{acme.ref.schema}".turns ADD COLUMN mood text')
    db_snapshot.rows("UPDATE public.tenants SET schema_revision = '9999' WHERE id = %s", acme.id)

    assert tenants_cli.doctor_findings() == (0, {})


def test_a_tenant_without_schema_is_named_and_left_to_a_person(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows(f'DROP SCHEMA "{acme.ref.schema}" CASCADE')

    for words in ([], ["--repair", "--yes"]):
        status, found = tenants_cli.doctor_findings(*words)
        assert (status, list(found)) == (1, [("tenant_without_schema", acme.id)])


def test_schemas_of_nobody_are_dropped_when_they_are_empty_and_one_says_so(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    empty, full = (f"t_{digit * 32}" for digit in "ab")
    db_snapshot.rows(f"CREATE SCHEMA {empty}; CREATE SCHEMA {full}; CREATE TABLE {full}.x (y int)")
    both = {
        ("schema_without_tenant", empty): "0 tables",
        ("schema_without_tenant", full): "1 tables",
    }

    assert tenants_cli.doctor_findings() == (1, both)
    assert tenants_cli.doctor_findings("--repair") == (1, both)
    assert tenants_cli.doctor_findings("--repair", "--yes") == (
        1,
        {("schema_without_tenant", full): "1 tables"},
    )


def test_a_schema_with_anything_but_tables_is_not_taken_for_empty(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker
) -> None:
    schema = f"t_{'c' * 32}"
    db_snapshot.rows(f"CREATE SCHEMA {schema}; CREATE SEQUENCE {schema}.numbers")

    status, found = tenants_cli.doctor_findings("--repair", "--yes")

    assert (status, list(found)) == (1, [("schema_without_tenant", schema)])


def test_a_deleted_tenant_whose_tables_are_missing_is_purged_to_the_end(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    tenants_cli.invoke_json("delete", acme.id)
    db_snapshot.rows(f'DROP TABLE "{acme.ref.schema}".turns')
    assert list(tenants_cli.doctor_findings()[1]) == [("half_dropped", acme.id)]

    assert tenants_cli.doctor_findings("--repair") == (0, {})

    assert db_snapshot.rows("SELECT id::text FROM public.tenants") == [(globex.id,)]
    assert db_snapshot.tables(acme.id) == []


def test_replaced_schemas_are_kept_for_a_week_and_no_longer(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker, tmp_path: Path
) -> None:
    tenants_cli.invoke_json("export", acme.id, tmp_path / "acme.zip")
    kept = tenants_cli.invoke_json("import", tmp_path / "acme.zip", "--replace", "--yes")[
        "kept_schema"
    ]
    assert tenants_cli.doctor_findings("--repair") == (0, {})
    assert db_snapshot.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^old_'") == [(kept,)]
    aged = f"{kept[: -len('20260101000000')]}20200101000000"
    db_snapshot.rows(f'ALTER SCHEMA "{kept}" RENAME TO "{aged}"')

    assert list(tenants_cli.doctor_findings()[1]) == [("kept_schema", aged)]
    assert tenants_cli.doctor_findings("--repair") == (0, {})

    assert db_snapshot.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^old_'") == []


@pytest.mark.usefixtures("with_roles")
def test_roles_that_a_restore_did_not_bring_are_made_again(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    roles = {it.id: it.ref.role(PREFIX) for it in (acme, globex)}
    status, found = tenants_cli.doctor_findings()
    assert status == 1
    assert found == {("missing_role", tenant): role for tenant, role in roles.items()}

    assert tenants_cli.doctor_findings("--repair") == (0, {})

    may = "SELECT has_table_privilege(%s, %s, 'SELECT, INSERT, UPDATE, DELETE')"
    reach = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
    for one, other in ((acme, globex), (globex, acme)):
        role = roles[one.id]
        assert db_snapshot.rows(may, role, f"{one.ref.schema}.calls") == [(True,)]
        assert db_snapshot.rows(reach, role, one.ref.schema) == [(True,)]
        assert db_snapshot.rows(reach, role, other.ref.schema) == [(False,)]


@pytest.mark.usefixtures("with_roles")
def test_an_imported_tenant_has_its_role_and_the_replaced_schema_none(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker, tmp_path: Path
) -> None:
    tenants_cli.doctor_findings("--repair")
    tenants_cli.invoke_json("export", acme.id, tmp_path / "acme.zip")

    new = tenants_cli.invoke_json("import", tmp_path / "acme.zip")["tenant_id"]
    kept = tenants_cli.invoke_json("import", tmp_path / "acme.zip", "--replace", "--yes")[
        "kept_schema"
    ]

    assert tenants_cli.doctor_findings() == (0, {})
    reach = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
    assert db_snapshot.rows(reach, acme.ref.role(PREFIX), acme.ref.schema) == [(True,)]
    assert db_snapshot.rows(reach, acme.ref.role(PREFIX), kept) == [(False,)]
    schema = f"t_{new.replace('-', '')}"
    assert db_snapshot.rows(reach, f"{PREFIX}{schema}", schema) == [(True,)]


def test_a_claim_without_its_phone_number_ends_in_rest(
    tenants_cli: TenantsCli,
    template_world: Factory,
    acme: Tenant,
    globex: Tenant,
    db_snapshot: SnapshotChecker,
) -> None:
    kept, lost = acme.number()["did_number"], acme.number()["did_number"]
    globex.number()
    template_world.run_jobs(acme)
    template_world.sql(acme, f"DELETE FROM phone_numbers WHERE did_number = '{lost}'")

    status, found = tenants_cli.doctor_findings()
    assert (status, list(found)) == (1, [("did_without_phone_number", lost)])

    assert tenants_cli.doctor_findings("--repair") == (0, {})
    states = db_snapshot.rows(
        "SELECT did_number, state FROM public.dids WHERE tenant_id = %s ORDER BY 1", acme.id
    )
    assert states == [(kept, "claimed"), (lost, "resting")]
    assert template_world.run_jobs(acme) == ["phone_numbers.unregister"]


def test_rows_whose_tenant_is_missing_are_removed(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    """A restore of part of a dump can leave them; the foreign key would not."""
    number = acme.number()["did_number"]
    keys = {"dids": "dids_tenant_id_fkey", "api_keys": "api_keys_tenant_id_fkey"}
    for table, key in keys.items():
        db_snapshot.rows(f"ALTER TABLE public.{table} DROP CONSTRAINT {key}")
    try:
        db_snapshot.rows(f'DROP SCHEMA "{acme.ref.schema}" CASCADE')
        db_snapshot.rows("DELETE FROM public.tenants WHERE id = %s", acme.id)
        prefix = acme.key[:12]

        found = tenants_cli.doctor_findings()[1]
        repaired = tenants_cli.doctor_findings("--repair")
    finally:
        db_snapshot.rows("DELETE FROM public.dids; DELETE FROM public.api_keys")
        for table, key in keys.items():
            db_snapshot.rows(
                f"ALTER TABLE public.{table} ADD CONSTRAINT {key}"
                " FOREIGN KEY (tenant_id) REFERENCES public.tenants (id)"
            )
    assert found == {
        ("row_without_tenant", number): "in public.dids",
        ("row_without_tenant", prefix): "in public.api_keys",
    }
    assert repaired == (0, {})
