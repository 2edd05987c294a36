"""Tests of `flask tenants doctor`, which finds inconsistencies and repairs those it safely can."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database_templates import Builder
from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.services import use_settings
from tests.support.tenants_cli import TenantsCli
from vca.settings import Settings

# Roles belong to the server, which other test processes share.
ROLE_PREFIX = f"vca_dr{os.getpid()}_"


def two_tenants(world: Factory) -> tuple[Tenant, Tenant]:
    """Create Acme and Globex."""
    return world.tenant("Acme"), world.tenant("Globex")


@pytest.fixture
def template_builder() -> Builder:
    """Return the builder of two tenants."""
    return two_tenants


@pytest.fixture
def acme(template_payload: tuple[Tenant, Tenant]) -> Tenant:
    """Return a tenant in the template's copy."""
    return template_payload[0]


@pytest.fixture
def globex(template_payload: tuple[Tenant, Tenant]) -> Tenant:
    """Return a second tenant in the template's copy, without inconsistencies."""
    return template_payload[1]


@pytest.fixture
def with_roles(
    tenants_cli: TenantsCli,
    template_settings: Settings,
    db_snapshot: SnapshotChecker,
    acme: Tenant,
    globex: Tenant,
) -> Iterator[None]:
    """Change the role prefix of the deployment, so that its tenants have no roles."""
    use_settings(tenant_roles="on", tenant_role_prefix=ROLE_PREFIX)
    db_snapshot.rows("UPDATE public.deployment SET role_prefix = %s", ROLE_PREFIX)
    yield
    for (role,) in db_snapshot.rows(
        f"SELECT rolname FROM pg_roles WHERE rolname ~ '^{ROLE_PREFIX}'"
    ):
        db_snapshot.rows(
            f'GRANT "{role}" TO CURRENT_USER; DROP OWNED BY "{role}"; DROP ROLE "{role}"'
        )


def test_doctor_reports_a_consistent_database(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant
) -> None:
    acme.number()
    tenants_cli.invoke_json("delete", globex.id)

    result = tenants_cli.invoke("doctor")

    assert (result.exit_code, result.output) == (0, "No inconsistencies found.\n")


@pytest.mark.parametrize(
    ("change", "difference"),
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
def test_doctor_reports_a_schema_that_differs_from_the_migrations(
    tenants_cli: TenantsCli,
    acme: Tenant,
    globex: Tenant,
    db_snapshot: SnapshotChecker,
    change: str,
    difference: str,
) -> None:
    unlogged = "ALTER TABLE turns SET UNLOGGED; ALTER TABLE call_events SET UNLOGGED; "
    statement = (unlogged if "UNLOGGED" in change else "") + change
    db_snapshot.rows(f'SET search_path TO "{acme.ref.schema}"; {statement}; RESET search_path')

    exit_code, findings = tenants_cli.doctor_findings()

    assert (exit_code, list(findings)) == (1, [("drift", acme.id)])
    assert difference in findings["drift", acme.id]
    assert tenants_cli.doctor_findings("--repair")[0] == 1


def test_doctor_reports_a_tenant_check_with_another_tenants_id_as_drift(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows(
        f'ALTER TABLE "{acme.ref.schema}".turns DROP CONSTRAINT turns_tenant_id_check,'
        f" ADD CONSTRAINT turns_tenant_id_check CHECK (tenant_id = '{globex.id}')"
    )

    assert list(tenants_cli.doctor_findings()[1]) == [("drift", acme.id)]


def test_doctor_skips_a_schema_with_a_newer_revision_than_the_code(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows(f'ALTER TABLE "{acme.ref.schema}".turns ADD COLUMN mood text')
    db_snapshot.rows("UPDATE public.tenants SET schema_revision = '9999' WHERE id = %s", acme.id)

    assert tenants_cli.doctor_findings() == (0, {})


def test_doctor_reports_a_tenant_without_a_schema_and_does_not_repair_it(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    db_snapshot.rows(f'DROP SCHEMA "{acme.ref.schema}" CASCADE')

    for arguments in ([], ["--repair", "--yes"]):
        exit_code, findings = tenants_cli.doctor_findings(*arguments)
        assert (exit_code, list(findings)) == (1, [("tenant_without_schema", acme.id)])


def test_doctor_drops_only_empty_orphaned_schemas_and_only_with_yes(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    empty, non_empty = (f"t_{digit * 32}" for digit in "ab")
    db_snapshot.rows(
        f"CREATE SCHEMA {empty}; CREATE SCHEMA {non_empty}; CREATE TABLE {non_empty}.x (y int)"
    )
    findings = {
        ("schema_without_tenant", empty): "0 tables",
        ("schema_without_tenant", non_empty): "1 tables",
    }

    assert tenants_cli.doctor_findings() == (1, findings)
    assert tenants_cli.doctor_findings("--repair") == (1, findings)
    assert tenants_cli.doctor_findings("--repair", "--yes") == (
        1,
        {("schema_without_tenant", non_empty): "1 tables"},
    )


def test_doctor_does_not_drop_an_orphaned_schema_with_a_sequence(
    tenants_cli: TenantsCli, db_snapshot: SnapshotChecker
) -> None:
    schema = f"t_{'c' * 32}"
    db_snapshot.rows(f"CREATE SCHEMA {schema}; CREATE SEQUENCE {schema}.numbers")

    exit_code, findings = tenants_cli.doctor_findings("--repair", "--yes")

    assert (exit_code, list(findings)) == (1, [("schema_without_tenant", schema)])


def test_doctor_purges_a_deleted_tenant_with_missing_tables(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    tenants_cli.invoke_json("delete", acme.id)
    db_snapshot.rows(f'DROP TABLE "{acme.ref.schema}".turns')
    assert list(tenants_cli.doctor_findings()[1]) == [("half_dropped", acme.id)]

    assert tenants_cli.doctor_findings("--repair") == (0, {})

    assert db_snapshot.rows("SELECT id::text FROM public.tenants") == [(globex.id,)]
    assert db_snapshot.tables(acme.id) == []


def test_doctor_drops_replaced_schemas_after_seven_days(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker, tmp_path: Path
) -> None:
    tenants_cli.invoke_json("export", acme.id, tmp_path / "acme.zip")
    replaced_schema = tenants_cli.invoke_json(
        "import", tmp_path / "acme.zip", "--replace", "--yes"
    )["kept_schema"]
    assert tenants_cli.doctor_findings("--repair") == (0, {})
    assert db_snapshot.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^old_'") == [
        (replaced_schema,)
    ]
    expired_schema = f"{replaced_schema[: -len('20260101000000')]}20200101000000"
    db_snapshot.rows(f'ALTER SCHEMA "{replaced_schema}" RENAME TO "{expired_schema}"')

    assert list(tenants_cli.doctor_findings()[1]) == [("kept_schema", expired_schema)]
    assert tenants_cli.doctor_findings("--repair") == (0, {})

    assert db_snapshot.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^old_'") == []


@pytest.mark.usefixtures("with_roles")
def test_doctor_creates_missing_tenant_roles(
    tenants_cli: TenantsCli, acme: Tenant, globex: Tenant, db_snapshot: SnapshotChecker
) -> None:
    roles = {tenant.id: tenant.ref.role(ROLE_PREFIX) for tenant in (acme, globex)}
    exit_code, findings = tenants_cli.doctor_findings()
    assert exit_code == 1
    assert findings == {("missing_role", tenant_id): role for tenant_id, role in roles.items()}

    assert tenants_cli.doctor_findings("--repair") == (0, {})

    table_privileges = "SELECT has_table_privilege(%s, %s, 'SELECT, INSERT, UPDATE, DELETE')"
    schema_privilege = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
    for tenant, other_tenant in ((acme, globex), (globex, acme)):
        role = roles[tenant.id]
        assert db_snapshot.rows(table_privileges, role, f"{tenant.ref.schema}.calls") == [(True,)]
        assert db_snapshot.rows(schema_privilege, role, tenant.ref.schema) == [(True,)]
        assert db_snapshot.rows(schema_privilege, role, other_tenant.ref.schema) == [(False,)]


@pytest.mark.usefixtures("with_roles")
def test_the_tenant_role_has_access_to_the_imported_schema_only(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker, tmp_path: Path
) -> None:
    tenants_cli.doctor_findings("--repair")
    tenants_cli.invoke_json("export", acme.id, tmp_path / "acme.zip")

    imported_id = tenants_cli.invoke_json("import", tmp_path / "acme.zip")["tenant_id"]
    replaced_schema = tenants_cli.invoke_json(
        "import", tmp_path / "acme.zip", "--replace", "--yes"
    )["kept_schema"]

    assert tenants_cli.doctor_findings() == (0, {})
    schema_privilege = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
    assert db_snapshot.rows(schema_privilege, acme.ref.role(ROLE_PREFIX), acme.ref.schema) == [
        (True,)
    ]
    assert db_snapshot.rows(schema_privilege, acme.ref.role(ROLE_PREFIX), replaced_schema) == [
        (False,)
    ]
    schema = f"t_{imported_id.replace('-', '')}"
    assert db_snapshot.rows(schema_privilege, f"{ROLE_PREFIX}{schema}", schema) == [(True,)]


def test_doctor_quarantines_a_claimed_number_without_a_phone_number(
    tenants_cli: TenantsCli,
    template_world: Factory,
    acme: Tenant,
    globex: Tenant,
    db_snapshot: SnapshotChecker,
) -> None:
    remaining_number, orphaned_number = acme.number()["did_number"], acme.number()["did_number"]
    globex.number()
    template_world.run_jobs(acme)
    template_world.sql(acme, f"DELETE FROM phone_numbers WHERE did_number = '{orphaned_number}'")

    exit_code, findings = tenants_cli.doctor_findings()
    assert (exit_code, list(findings)) == (1, [("did_without_phone_number", orphaned_number)])

    assert tenants_cli.doctor_findings("--repair") == (0, {})
    states = db_snapshot.rows(
        "SELECT did_number, state FROM public.dids WHERE tenant_id = %s ORDER BY 1", acme.id
    )
    assert states == [(remaining_number, "claimed"), (orphaned_number, "resting")]
    assert template_world.run_jobs(acme) == ["phone_numbers.unregister"]


def test_doctor_removes_rows_of_missing_tenants(
    tenants_cli: TenantsCli, acme: Tenant, db_snapshot: SnapshotChecker
) -> None:
    """Drop the foreign keys first, as a partial restore of a dump does."""
    number = acme.number()["did_number"]
    foreign_keys = {"dids": "dids_tenant_id_fkey", "api_keys": "api_keys_tenant_id_fkey"}
    for table, foreign_key in foreign_keys.items():
        db_snapshot.rows(f"ALTER TABLE public.{table} DROP CONSTRAINT {foreign_key}")
    try:
        db_snapshot.rows(f'DROP SCHEMA "{acme.ref.schema}" CASCADE')
        db_snapshot.rows("DELETE FROM public.tenants WHERE id = %s", acme.id)
        prefix = acme.key[:12]

        findings = tenants_cli.doctor_findings()[1]
        repaired = tenants_cli.doctor_findings("--repair")
    finally:
        db_snapshot.rows("DELETE FROM public.dids; DELETE FROM public.api_keys")
        for table, foreign_key in foreign_keys.items():
            db_snapshot.rows(
                f"ALTER TABLE public.{table} ADD CONSTRAINT {foreign_key}"
                " FOREIGN KEY (tenant_id) REFERENCES public.tenants (id)"
            )
    assert findings == {
        ("row_without_tenant", number): "in public.dids",
        ("row_without_tenant", prefix): "in public.api_keys",
    }
    assert repaired == (0, {})
