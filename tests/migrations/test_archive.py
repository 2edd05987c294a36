"""Archives and schemas of another revision than the code's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.evidence import Evidence
from tests.support.lifecycle import Terminal, everything
from tests.support.revisions import Tree
from tests.support.world import Tenant, World
from vca.kit.db import Database
from vca.settings import Settings
from vca.tenancy import schema

FIRST = schema.head()


@pytest.fixture
def terminal(fleet_world: World, migrated: Database, settings: Settings) -> Terminal:
    """Runs `flask tenants …` in the database of these tests."""
    return Terminal(fleet_world.app)


@pytest.fixture
def witness(migrated: Database) -> Iterator[Evidence]:
    """That database as nobody's session sees it."""
    found = Evidence(migrated.dsn)
    yield found
    found.close()


@pytest.fixture
def acme(fleet_world: World) -> Tenant:
    """A tenant with a number, made before the next revision."""
    tenant = fleet_world.tenant("Acme")
    tenant.number(label="Front desk")
    return tenant


@pytest.fixture
def file(terminal: Terminal, acme: Tenant, tmp_path: Path) -> Path:
    """Acme's archive, at the first revision."""
    terminal.json("export", acme.id, tmp_path / "acme.zip")
    return tmp_path / "acme.zip"


def _nicknames(witness: Evidence, tenant_id: str) -> list[tuple[object, ...]]:
    table = f'"t_{tenant_id.replace("-", "")}".phone_numbers'
    return witness.rows(f"SELECT label, nickname FROM {table}")


def test_an_older_archive_is_loaded_at_its_revision_and_migrated_to_the_head(
    terminal: Terminal, acme: Tenant, file: Path, witness: Evidence, next_revision: str
) -> None:
    new = terminal.json("import", file)
    replaced = terminal.json("import", file, "--replace", "--yes")

    for imported in (new, replaced):
        assert imported["schema_revision"] == next_revision
        assert _nicknames(witness, imported["tenant_id"]) == [("Front desk", None)]
        row = "SELECT schema_revision FROM public.tenants WHERE id = %s"
        assert witness.rows(row, imported["tenant_id"]) == [(next_revision,)]
        assert ("drift", imported["tenant_id"]) not in terminal.findings()[1]


def test_an_archive_of_a_newer_release_is_refused(
    terminal: Terminal,
    acme: Tenant,
    witness: Evidence,
    next_revision: str,
    revisions: Tree,
    tmp_path: Path,
) -> None:
    terminal.json("migrate", "--tenant", acme.id)
    terminal.json("export", acme.id, tmp_path / "newer.zip")
    revisions.forget()
    before = everything(witness)

    said = terminal.refused("import", tmp_path / "newer.zip", "--replace", "--yes")

    assert f"revision {next_revision}, which this code does not know" in said
    assert everything(witness) == before


def test_a_tenant_that_is_behind_is_compared_with_its_own_revision(
    terminal: Terminal, fleet_world: World, acme: Tenant, witness: Evidence, next_revision: str
) -> None:
    ahead, torn = fleet_world.tenant("Ahead"), fleet_world.tenant("Torn")
    terminal.json("migrate", "--tenant", ahead.id)
    witness.rows(f'ALTER TABLE "{torn.ref.schema}".phone_numbers ADD COLUMN nickname text')

    drifted = {subject for kind, subject in terminal.findings()[1] if kind == "drift"}

    assert torn.id in drifted
    assert not {acme.id, ahead.id} & drifted
