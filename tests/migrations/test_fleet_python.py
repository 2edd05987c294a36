"""Revisions that need Python: they move data, inside each tenant, in the revision's transaction."""

import pytest
from sqlalchemy import text

from tests.support import fleet, houses, owner
from tests.support.houses import Builder
from tests.support.revisions import Tree
from tests.support.world import Tenant, World
from vca.tenancy import schema

FIRST = schema.head()
# Every label backwards, as no SQL of ours would.
BACKWARDS = (
    'for row in connection.execute(text("SELECT id, label FROM phone_numbers")).all():',
    '    new = {"id": row.id, "label": row.label[::-1]}',
    '    connection.execute(text("UPDATE phone_numbers SET label = :label WHERE id = :id"), new)',
)


@pytest.fixture
def built() -> Builder:
    """There are four tenants."""
    return houses.four


def _labels(tenant: Tenant) -> list[str]:
    return sorted(number["label"] for number in tenant.get("/phone-numbers").json)


def test_python_moves_each_tenants_own_data(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    for tenant, label in zip(four, ("one", "two", "three", "four"), strict=True):
        tenant.number(label=label)
    number = revisions.python("backwards", *BACKWARDS)

    run = fleet.migrate(fleet_world)

    assert (run.status, run.migrated) == (0, 4)
    assert fleet.at(four) == [number] * 4
    assert [_labels(tenant) for tenant in four] == [["eno"], ["owt"], ["eerht"], ["ruof"]]


def test_sql_before_and_after_python_is_one_transaction_in_the_order_of_the_revisions(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    four[0].number(label="front")
    revisions.sql("column", "ALTER TABLE phone_numbers ADD COLUMN shout text")
    revisions.python(
        "shouting",
        'connection.execute(text("UPDATE phone_numbers SET shout = upper(label)"))',
    )
    last = revisions.sql(
        "pinned",
        f"CREATE TABLE pinned (tenant_id uuid DEFAULT '{schema.TENANT_SENTINEL}');"
        " INSERT INTO pinned DEFAULT VALUES",
    )

    assert fleet.migrate(fleet_world).migrated == 4

    assert fleet.at(four) == [last] * 4
    with owner.inside(four[0].ref) as session:
        assert session.scalar(text("SELECT shout FROM phone_numbers")) == "FRONT"
        assert session.scalar(text("SELECT tenant_id FROM pinned")) == four[0].ref.id


def test_python_that_fails_leaves_nothing_behind_and_the_rest_go_on(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    four[1].number(label="bad")
    revisions.sql("column", "ALTER TABLE phone_numbers ADD COLUMN nickname text")
    last = revisions.python(
        "choosy",
        'found = connection.execute(text("SELECT label FROM phone_numbers")).scalars().all()',
        'if "bad" in found:',
        '    raise KeyError("a label that must not be told")',
    )

    result = fleet.command(fleet_world, "tenants", "migrate")

    summary = fleet.told(result)[-1]
    assert (result.exit_code, summary["migrated"]) == (1, 3)
    assert summary["failed"] == {
        four[1].id: {"sqlstate": None, "reason": "KeyError", "message": None}
    }
    assert "must not be told" not in result.output
    assert fleet.at(four) == [last, FIRST, last, last]
    assert fleet.has_nicknames(four[1]) == (False, False)


def test_a_statement_that_fails_in_python_is_named_by_its_sqlstate(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    revisions.python("lost", 'connection.execute(text("SELECT * FROM nowhere"))')

    assert set(fleet.migrate(fleet_world).failed.values()) == {"42P01"}


def test_a_lock_that_python_waits_for_is_not_taken_for_an_outage(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    revisions.python(
        "locked", "connection.execute(text(\"DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$\"))"
    )

    run = fleet.migrate(fleet_world)

    assert set(run.failed.values()) == {"55P03"}
    assert run.facts["database_away"] is False


@pytest.mark.parametrize("built", [houses.nobody])
def test_a_new_schema_has_no_data_to_move(fleet_world: World, revisions: Tree) -> None:
    number = revisions.python("failing", 'raise AssertionError("there is no data here")')

    assert fleet.command(fleet_world, "db", "upgrade").exit_code == 0
    new = fleet_world.tenant("New")

    assert fleet.revision(new) == number
    assert len(new.get("/phone-numbers").json) == 0


def test_a_dry_run_names_the_python(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    number = revisions.python("backwards", *BACKWARDS)

    shown = fleet.command(fleet_world, "tenants", "migrate", "--dry-run").stdout

    assert f"-- revision {number} is Python" in shown


def test_python_of_several_workers_never_meets_in_one_tenant(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    """Alembic's `op` is one for the process: a second worker would take the first one's place."""
    revisions.sql("seen", "CREATE TABLE seen (id uuid)")
    revisions.python(
        "slowly",
        "from time import sleep",
        "sleep(0.05)",
        'op.execute("INSERT INTO seen SELECT id FROM tenant_self")',
    )

    assert fleet.migrate(fleet_world, "--workers", "4").migrated == 4

    for tenant in four:
        with owner.inside(tenant.ref) as session:
            assert session.scalars(text("SELECT id FROM seen")).all() == [tenant.ref.id]
