"""Exports, imports and consistency checks of tenants at another revision than the code's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import RevisionTree
from tests.support.tenants_cli import TenantsCli, import_snapshot
from vca.kit.db import Database
from vca.settings import Settings


@pytest.fixture
def tenants_cli(
    migration_world: Factory, migrated_database: Database, settings: Settings
) -> TenantsCli:
    """Return a client of `flask tenants …` in the database of these tests."""
    return TenantsCli(migration_world.app)


@pytest.fixture
def db_snapshot(migrated_database: Database) -> Iterator[SnapshotChecker]:
    """Return a snapshot checker of that database."""
    checker = SnapshotChecker(migrated_database.dsn)
    yield checker
    checker.close()


@pytest.fixture
def acme(migration_world: Factory) -> Tenant:
    """Create a tenant with a number, before the next revision."""
    tenant = migration_world.tenant("Acme")
    tenant.number(label="Front desk")
    return tenant


@pytest.fixture
def archive_file(tenants_cli: TenantsCli, acme: Tenant, tmp_path: Path) -> Path:
    """Export Acme's archive before the next revision."""
    tenants_cli.invoke_json("export", acme.id, tmp_path / "acme.zip")
    return tmp_path / "acme.zip"


def _labels_and_nicknames(db_snapshot: SnapshotChecker, tenant_id: str) -> list[tuple[object, ...]]:
    table = f'"t_{tenant_id.replace("-", "")}".phone_numbers'
    return db_snapshot.rows(f"SELECT label, nickname FROM {table}")


def test_an_older_archive_is_imported_at_its_revision_and_migrated(
    tenants_cli: TenantsCli,
    acme: Tenant,
    archive_file: Path,
    db_snapshot: SnapshotChecker,
    next_revision: str,
) -> None:
    first = tenants_cli.invoke_json("import", archive_file)
    second = tenants_cli.invoke_json("import", archive_file, "--replace", "--yes")

    for tenant in (first, second):
        assert tenant["schema_revision"] == next_revision
        assert _labels_and_nicknames(db_snapshot, tenant["tenant_id"]) == [("Front desk", None)]
        revision_sql = "SELECT schema_revision FROM public.tenants WHERE id = %s"
        assert db_snapshot.rows(revision_sql, tenant["tenant_id"]) == [(next_revision,)]
        assert ("drift", tenant["tenant_id"]) not in tenants_cli.doctor_findings()[1]


def test_an_archive_of_a_newer_release_is_rejected(
    tenants_cli: TenantsCli,
    acme: Tenant,
    db_snapshot: SnapshotChecker,
    next_revision: str,
    revision_tree: RevisionTree,
    tmp_path: Path,
) -> None:
    tenants_cli.invoke_json("migrate", "--tenant", acme.id)
    tenants_cli.invoke_json("export", acme.id, tmp_path / "newer.zip")
    revision_tree.restore()
    before = import_snapshot(db_snapshot)

    output = tenants_cli.invoke_failing("import", tmp_path / "newer.zip", "--replace", "--yes")

    assert f"revision {next_revision}, which this release does not know" in output
    assert import_snapshot(db_snapshot) == before


def test_doctor_compares_an_outdated_tenant_with_its_own_revision(
    tenants_cli: TenantsCli,
    migration_world: Factory,
    acme: Tenant,
    db_snapshot: SnapshotChecker,
    next_revision: str,
) -> None:
    migrated_tenant, damaged_tenant = (
        migration_world.tenant("Ahead"),
        migration_world.tenant("Torn"),
    )
    tenants_cli.invoke_json("migrate", "--tenant", migrated_tenant.id)
    db_snapshot.rows(
        f'ALTER TABLE "{damaged_tenant.ref.schema}".phone_numbers ADD COLUMN nickname text'
    )

    drifted_ids = {subject for kind, subject in tenants_cli.doctor_findings()[1] if kind == "drift"}

    assert damaged_tenant.id in drifted_ids
    assert not {acme.id, migrated_tenant.id} & drifted_ids
