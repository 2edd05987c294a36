"""Tests of revisions in Python, which change data of each tenant in the revision's transaction."""

import pytest
from sqlalchemy import text

from tests.support import admin_db, database_templates, migrate_command
from tests.support.database_templates import Builder
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import RevisionTree
from vca.tenancy import schema

PRODUCT_HEAD = schema.head()
# Reverses every label, which no SQL of the product does.
REVERSING_CODE = (
    'for row in connection.execute(text("SELECT id, label FROM phone_numbers")).all():',
    '    new = {"id": row.id, "label": row.label[::-1]}',
    '    connection.execute(text("UPDATE phone_numbers SET label = :label WHERE id = :id"), new)',
)


@pytest.fixture
def template_builder() -> Builder:
    """Use the template with four tenants."""
    return database_templates.four_tenants


def _labels(tenant: Tenant) -> list[str]:
    return sorted(number["label"] for number in tenant.get("/phone-numbers").json)


def test_python_changes_the_data_of_each_tenant(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    for tenant, label in zip(four_tenants, ("one", "two", "three", "four"), strict=True):
        tenant.number(label=label)
    revision = revision_tree.add_python("backwards", *REVERSING_CODE)

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated) == (0, 4)
    assert migrate_command.recorded_revisions(four_tenants) == [revision] * 4
    assert [_labels(tenant) for tenant in four_tenants] == [["eno"], ["owt"], ["eerht"], ["ruof"]]


def test_sql_and_python_revisions_run_in_order_in_one_transaction(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    four_tenants[0].number(label="front")
    revision_tree.add_sql("column", "ALTER TABLE phone_numbers ADD COLUMN shout text")
    revision_tree.add_python(
        "shouting",
        'connection.execute(text("UPDATE phone_numbers SET shout = upper(label)"))',
    )
    last_revision = revision_tree.add_sql(
        "pinned",
        f"CREATE TABLE pinned (tenant_id uuid DEFAULT '{schema.TENANT_SENTINEL}');"
        " INSERT INTO pinned DEFAULT VALUES",
    )

    assert migrate_command.run_migrate(migration_world).migrated == 4

    assert migrate_command.recorded_revisions(four_tenants) == [last_revision] * 4
    with admin_db.tenant_session(four_tenants[0].ref) as session:
        assert session.scalar(text("SELECT shout FROM phone_numbers")) == "FRONT"
        assert session.scalar(text("SELECT tenant_id FROM pinned")) == four_tenants[0].ref.id


def test_failing_python_is_rolled_back_and_the_others_are_migrated(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    four_tenants[1].number(label="bad")
    revision_tree.add_sql("column", "ALTER TABLE phone_numbers ADD COLUMN nickname text")
    last_revision = revision_tree.add_python(
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
    assert migrate_command.recorded_revisions(four_tenants) == [
        last_revision,
        PRODUCT_HEAD,
        last_revision,
        last_revision,
    ]
    assert migrate_command.has_nicknames(four_tenants[1]) == (False, False)


def test_a_failing_statement_in_python_is_reported_with_its_sqlstate(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    revision_tree.add_python("lost", 'connection.execute(text("SELECT * FROM nowhere"))')

    assert set(migrate_command.run_migrate(migration_world).failed.values()) == {"42P01"}


def test_a_lock_timeout_in_python_is_no_outage(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    revision_tree.add_python(
        "locked", "connection.execute(text(\"DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$\"))"
    )

    run = migrate_command.run_migrate(migration_world)

    assert set(run.failed.values()) == {"55P03"}
    assert run.summary["database_away"] is False


@pytest.mark.parametrize("template_builder", [database_templates.empty])
def test_python_does_not_run_for_a_new_schema(
    migration_world: Factory, revision_tree: RevisionTree
) -> None:
    revision = revision_tree.add_python("failing", 'raise AssertionError("there is no data here")')

    assert migrate_command.run_flask(migration_world, "db", "upgrade").exit_code == 0
    tenant = migration_world.tenant("New")

    assert migrate_command.recorded_revision(tenant) == revision
    assert len(tenant.get("/phone-numbers").json) == 0


def test_a_dry_run_lists_revisions_in_python(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    revision = revision_tree.add_python("backwards", *REVERSING_CODE)

    output = migrate_command.run_flask(migration_world, "tenants", "migrate", "--dry-run").stdout

    assert f"-- revision {revision} is Python" in output


def test_python_of_concurrent_workers_runs_in_the_right_tenants(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    """Alembic's `op` is global, so a second worker would replace the first one's connection."""
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
