"""Tests of exporting a tenant to an archive."""

from collections.abc import Callable
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from sqlalchemy.orm import Session

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.populated_tenant import PopulatedTenant
from tests.support.tenants_cli import TenantsCli
from vca.kit import clock, db
from vca.kit.db.copy_driver import BulkDatabase
from vca.tenancy import archive_writer, schema
from vca.tenancy.archive_writer import ArchiveContents


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
