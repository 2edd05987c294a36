"""`flask tenants migrate`: every schema one revision further, one bad tenant named and skipped."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from click.testing import Result
from sqlalchemy import text

from tests.support.world import Tenant, World
from vca.kit import db, json
from vca.kit.db import waiting
from vca.registry.tenants import fleet
from vca.registry.tenants.models import Tenant as TenantRow
from vca.tenancy import schema
from vca.tenancy.session import enter, public

# What the code itself knows; the fixture `next_revision` adds one.
FIRST = schema.head()


def _command(world: World, *words: str) -> Result:
    return world.app.test_cli_runner().invoke(args=list(words))


def _migrate(world: World, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit status and what the command printed."""
    result = _command(world, "tenants", "migrate", "--json", *words)
    return result.exit_code, json.loads(result.stdout)


def _revision(tenant: Tenant) -> str:
    with public() as session:
        return session.get_one(TenantRow, tenant.ref.id).schema_revision


def _has_nicknames(tenant: Tenant) -> tuple[bool, bool]:
    """Whether the next revision's column and index are there."""
    column = (
        "SELECT 1 FROM information_schema.columns WHERE table_schema = :schema"
        " AND table_name = 'phone_numbers' AND column_name = 'nickname'"
    )
    index = "SELECT 1 FROM pg_indexes WHERE schemaname = :schema AND indexdef LIKE '%(nickname)'"
    with enter(tenant.ref) as session:
        found = [
            session.scalar(text(query), {"schema": tenant.ref.schema}) for query in (column, index)
        ]
    return found[0] == 1, found[1] == 1


def _run(tenant: Tenant, statement: str) -> None:
    with enter(tenant.ref) as session:
        session.execute(text(statement))


def _spoil(tenant: Tenant) -> None:
    """Something in the schema has the name that the next revision wants for its index."""
    _run(tenant, "CREATE INDEX phone_numbers_nickname_idx ON phone_numbers (label)")


@pytest.fixture
def four(fleet_world: World) -> list[Tenant]:
    """Tenants that were made before the next revision."""
    return [fleet_world.tenant(name) for name in ("Acme", "Globex", "Initech", "Hooli")]


def test_every_tenant_is_migrated_and_its_revision_recorded(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    number = four[0].number(label="Front desk")
    assert [_revision(tenant) for tenant in four] == [FIRST] * 4

    assert _migrate(fleet_world) == (0, {"migrated": 4, "failed": {}})

    for tenant in four:
        assert _revision(tenant) == next_revision
        assert _has_nicknames(tenant) == (True, True)
    kept = four[0].get(f"/phone-numbers/{number['id']}").json
    assert kept["label"] == "Front desk"


def test_migrating_again_does_nothing(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    _migrate(fleet_world)

    assert _migrate(fleet_world) == (0, {"migrated": 0, "failed": {}})


def test_one_tenant_can_be_migrated_alone_and_the_rest_later(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    assert _migrate(fleet_world, "--tenant", four[2].id) == (0, {"migrated": 1, "failed": {}})
    assert [_revision(tenant) for tenant in four] == [FIRST, FIRST, next_revision, FIRST]

    assert _migrate(fleet_world) == (0, {"migrated": 3, "failed": {}})


def test_a_bad_tenant_is_named_and_skipped_and_the_rest_go_on(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    bad = four[1]
    _spoil(bad)

    assert _migrate(fleet_world) == (1, {"migrated": 3, "failed": {bad.id: "DuplicateTable"}})

    assert [_revision(tenant) for tenant in four] == [next_revision, FIRST] + [next_revision] * 2
    assert _has_nicknames(bad)[0] is False, "half of a revision was left behind"

    told = _command(fleet_world, "tenants", "migrate")
    assert told.exit_code == 1
    assert f"failed: {bad.id} (DuplicateTable)" in told.output
    status = json.loads(_command(fleet_world, "tenants", "status", "--json").stdout)
    assert (status["head"], status["behind"]) == (next_revision, {FIRST: 1})
    assert status["at_head"] >= 3


def test_a_bad_tenant_that_was_mended_is_migrated_by_the_next_run(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    _spoil(four[0])
    _migrate(fleet_world)
    _run(four[0], "DROP INDEX phone_numbers_nickname_idx")

    assert _migrate(fleet_world) == (0, {"migrated": 1, "failed": {}})
    assert _has_nicknames(four[0]) == (True, True)


def test_a_tenant_whose_schema_is_gone_is_named_and_skipped(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    with public() as session:
        session.execute(text(f'DROP SCHEMA "{four[0].ref.schema}" CASCADE'))

    status, told = _migrate(fleet_world)

    assert (status, told["migrated"], list(told["failed"])) == (1, 3, [four[0].id])


def test_a_tenant_whose_table_is_in_use_is_named_and_skipped_in_time(
    fleet_world: World,
    four: list[Tenant],
    next_revision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "LOCK_TIMEOUT_MS", 100)
    impatient = db.use(db.Database(db.current().dsn))
    busy = psycopg2.connect(impatient.dsn)
    busy.cursor().execute(f'SELECT * FROM "{four[3].ref.schema}".phone_numbers')

    status, told = _migrate(fleet_world)

    busy.close()
    assert (status, told["migrated"], list(told["failed"])) == (1, 3, [four[3].id])
    assert _migrate(fleet_world) == (0, {"migrated": 1, "failed": {}})
    impatient.close()


def test_two_who_migrate_at_once_share_the_work(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(lambda _: fleet.migrate(), range(2)))

    assert sum(outcome.migrated for outcome in outcomes) == 4
    assert [outcome.failed for outcome in outcomes] == [{}, {}]


def test_a_schema_that_is_ahead_of_the_code_is_left_alone(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    with public() as session:
        session.get_one(TenantRow, four[0].ref.id).schema_revision = "9999"

    assert _migrate(fleet_world) == (0, {"migrated": 3, "failed": {}})
    assert _revision(four[0]) == "9999"
    assert _has_nicknames(four[0]) == (False, False)


def test_new_tenants_are_made_with_the_new_revision_from_the_upgrade_on(
    fleet_world: World, next_revision: str
) -> None:
    before = fleet_world.tenant("Before")
    assert (_revision(before), _has_nicknames(before)) == (FIRST, (False, False))

    assert _command(fleet_world, "db", "upgrade").exit_code == 0
    after = fleet_world.tenant("After")

    assert (_revision(after), _has_nicknames(after)) == (next_revision, (True, True))
    assert _migrate(fleet_world) == (0, {"migrated": 1, "failed": {}})


def test_both_kinds_of_tenants_work_for_the_code_of_before(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    """Expand, then contract: release N runs on schemas N and N+1."""
    fleet.migrate(only=four[0].ref.id)

    for tenant in four[:2]:
        assert tenant.number()["is_active"]
        assert len(tenant.get("/phone-numbers").json) == 1


def test_an_older_release_does_not_put_its_own_script_on_top(
    fleet_world: World, next_revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _command(fleet_world, "db", "upgrade")
    monkeypatch.undo()

    assert _command(fleet_world, "db", "upgrade").exit_code == 0

    assert _revision(fleet_world.tenant("Newest")) == next_revision
