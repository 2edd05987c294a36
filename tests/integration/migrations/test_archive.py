"""Archives and schemas of another revision than the code's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.db_snapshot import SnapshotChecker
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import RevisionTree
from tests.support.tenants_cli import TenantsCli, import_snapshot
from vca.kit.db import Database
from vca.settings import Settings
from vca.tenancy import schema

FIRST = schema.head()


@pytest.fixture
def tenants_cli(
    migration_world: Factory, migrated_database: Database, settings: Settings
) -> TenantsCli:
    """Runs `flask tenants …` in the database of these tests."""
    return TenantsCli(migration_world.app)


@pytest.fixture
def db_snapshot(migrated_database: Database) -> Iterator[SnapshotChecker]:
    """That database as nobody's session sees it."""
    found = SnapshotChecker(migrated_database.dsn)
    yield found
    found.close()


@pytest.fixture
def acme(migration_world: Factory) -> Tenant:
    """A tenant with a number, made before the next revision."""
    tenant = migration_world.tenant("Acme")
    tenant.number(label="Front desk")
    return tenant


@pytest.fixture
def file(tenants_cli: TenantsCli, acme: Tenant, tmp_path: Path) -> Path:
    """Acme's archive, at the first revision."""
    tenants_cli.invoke_json("export", acme.id, tmp_path / "acme.zip")
    return tmp_path / "acme.zip"


def _nicknames(witness: SnapshotChecker, tenant_id: str) -> list[tuple[object, ...]]:
    table = f'"t_{tenant_id.replace("-", "")}".phone_numbers'
    return witness.rows(f"SELECT label, nickname FROM {table}")


def test_an_older_archive_is_loaded_at_its_revision_and_migrated_to_the_head(
    tenants_cli: TenantsCli,
    acme: Tenant,
    file: Path,
    db_snapshot: SnapshotChecker,
    next_revision: str,
) -> None:
    new = tenants_cli.invoke_json("import", file)
    replaced = tenants_cli.invoke_json("import", file, "--replace", "--yes")

    for imported in (new, replaced):
        assert imported["schema_revision"] == next_revision
        assert _nicknames(db_snapshot, imported["tenant_id"]) == [("Front desk", None)]
        row = "SELECT schema_revision FROM public.tenants WHERE id = %s"
        assert db_snapshot.rows(row, imported["tenant_id"]) == [(next_revision,)]
        assert ("drift", imported["tenant_id"]) not in tenants_cli.doctor_findings()[1]


def test_an_archive_of_a_newer_release_is_refused(
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

    said = tenants_cli.invoke_failing("import", tmp_path / "newer.zip", "--replace", "--yes")

    assert f"revision {next_revision}, which this release does not know" in said
    assert import_snapshot(db_snapshot) == before


def test_a_tenant_that_is_behind_is_compared_with_its_own_revision(
    tenants_cli: TenantsCli,
    migration_world: Factory,
    acme: Tenant,
    db_snapshot: SnapshotChecker,
    next_revision: str,
) -> None:
    ahead, torn = migration_world.tenant("Ahead"), migration_world.tenant("Torn")
    tenants_cli.invoke_json("migrate", "--tenant", ahead.id)
    db_snapshot.rows(f'ALTER TABLE "{torn.ref.schema}".phone_numbers ADD COLUMN nickname text')

    drifted = {subject for kind, subject in tenants_cli.doctor_findings()[1] if kind == "drift"}

    assert torn.id in drifted
    assert not {acme.id, ahead.id} & drifted
