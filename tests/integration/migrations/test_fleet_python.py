"""Revisions that need Python: they move data, inside each tenant, in the revision's transaction."""

import pytest
from sqlalchemy import text

from tests.support import admin_db, database_templates, migrate_command
from tests.support.database_templates import Builder
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import RevisionTree
from vca.tenancy import schema

FIRST = schema.head()
# Every label backwards, as no SQL of ours would.
BACKWARDS = (
    'for row in connection.execute(text("SELECT id, label FROM phone_numbers")).all():',
    '    new = {"id": row.id, "label": row.label[::-1]}',
    '    connection.execute(text("UPDATE phone_numbers SET label = :label WHERE id = :id"), new)',
)


@pytest.fixture
def template_builder() -> Builder:
    """There are four tenants."""
    return database_templates.four_tenants


def _labels(tenant: Tenant) -> list[str]:
    return sorted(number["label"] for number in tenant.get("/phone-numbers").json)


def test_python_moves_each_tenants_own_data(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    for tenant, label in zip(four_tenants, ("one", "two", "three", "four"), strict=True):
        tenant.number(label=label)
    number = revision_tree.add_python("backwards", *BACKWARDS)

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated) == (0, 4)
    assert migrate_command.recorded_revisions(four_tenants) == [number] * 4
    assert [_labels(tenant) for tenant in four_tenants] == [["eno"], ["owt"], ["eerht"], ["ruof"]]


def test_sql_before_and_after_python_is_one_transaction_in_the_order_of_the_revisions(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    four_tenants[0].number(label="front")
    revision_tree.add_sql("column", "ALTER TABLE phone_numbers ADD COLUMN shout text")
    revision_tree.add_python(
        "shouting",
        'connection.execute(text("UPDATE phone_numbers SET shout = upper(label)"))',
    )
    last = revision_tree.add_sql(
        "pinned",
        f"CREATE TABLE pinned (tenant_id uuid DEFAULT '{schema.TENANT_SENTINEL}');"
        " INSERT INTO pinned DEFAULT VALUES",
    )

    assert migrate_command.run_migrate(migration_world).migrated == 4

    assert migrate_command.recorded_revisions(four_tenants) == [last] * 4
    with admin_db.tenant_session(four_tenants[0].ref) as session:
        assert session.scalar(text("SELECT shout FROM phone_numbers")) == "FRONT"
        assert session.scalar(text("SELECT tenant_id FROM pinned")) == four_tenants[0].ref.id


def test_python_that_fails_leaves_nothing_behind_and_the_rest_go_on(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    four_tenants[1].number(label="bad")
    revision_tree.add_sql("column", "ALTER TABLE phone_numbers ADD COLUMN nickname text")
    last = revision_tree.add_python(
        "choosy",
        'found = connection.execute(text("SELECT label FROM phone_numbers")).scalars().all()',
        'if "bad" in found:',
        '    raise KeyError("a label that must not be told")',
    )

    result = migrate_command.run_flask(migration_world, "tenants", "migrate")

    summary = migrate_command.json_lines(result)[-1]
    assert (result.exit_code, summary["migrated"]) == (1, 3)
    assert summary["failed"] == {
        four_tenants[1].id: {"sqlstate": None, "reason": "KeyError", "message": None}
    }
    assert "must not be told" not in result.output
    assert migrate_command.recorded_revisions(four_tenants) == [last, FIRST, last, last]
    assert migrate_command.has_nicknames(four_tenants[1]) == (False, False)


def test_a_statement_that_fails_in_python_is_named_by_its_sqlstate(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    revision_tree.add_python("lost", 'connection.execute(text("SELECT * FROM nowhere"))')

    assert set(migrate_command.run_migrate(migration_world).failed.values()) == {"42P01"}


def test_a_lock_that_python_waits_for_is_not_taken_for_an_outage(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    revision_tree.add_python(
        "locked", "connection.execute(text(\"DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$\"))"
    )

    run = migrate_command.run_migrate(migration_world)

    assert set(run.failed.values()) == {"55P03"}
    assert run.summary["database_away"] is False


@pytest.mark.parametrize("template_builder", [database_templates.empty])
def test_a_new_schema_has_no_data_to_move(
    migration_world: Factory, revision_tree: RevisionTree
) -> None:
    number = revision_tree.add_python("failing", 'raise AssertionError("there is no data here")')

    assert migrate_command.run_flask(migration_world, "db", "upgrade").exit_code == 0
    new = migration_world.tenant("New")

    assert migrate_command.recorded_revision(new) == number
    assert len(new.get("/phone-numbers").json) == 0


def test_a_dry_run_names_the_python(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    number = revision_tree.add_python("backwards", *BACKWARDS)

    shown = migrate_command.run_flask(migration_world, "tenants", "migrate", "--dry-run").stdout

    assert f"-- revision {number} is Python" in shown


def test_python_of_several_workers_never_meets_in_one_tenant(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    """Alembic's `op` is one for the process: a second worker would take the first one's place."""
    revision_tree.add_sql("seen", "CREATE TABLE seen (id uuid)")
    revision_tree.add_python(
        "slowly",
        "from time import sleep",
        "sleep(0.05)",
        'op.execute("INSERT INTO seen SELECT id FROM tenant_self")',
    )

    assert migrate_command.run_migrate(migration_world, "--workers", "4").migrated == 4

    for tenant in four_tenants:
        with admin_db.tenant_session(tenant.ref) as session:
            assert session.scalars(text("SELECT id FROM seen")).all() == [tenant.ref.id]
