"""`flask tenants migrate`: every schema at this code's revision, in one query for the work."""

import pytest
from sqlalchemy import event, text

from tests.support import admin_db, database_templates, migrate_command
from tests.support.database_templates import Builder
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import RevisionTree
from tests.support.schema_dump import dump_schema
from vca.kit import json
from vca.registry import owner_connections as owners
from vca.registry.tenants import revision_store as ours
from vca.tenancy import schema
from vca.tenancy.migration_runner import MigrationOptions
from vca.tenancy.session import tenant_session

# What the code itself knows; the fixture `next_revision` adds one.
FIRST = schema.head()


@pytest.fixture
def template_builder() -> Builder:
    """There are four tenants."""
    return database_templates.four_tenants


def test_every_tenant_is_migrated_and_its_revision_recorded(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    number = four_tenants[0].number(label="Front desk")
    assert migrate_command.recorded_revisions(four_tenants) == [FIRST] * 4

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.failed, run.summary["left"]) == (0, 4, {}, 0)
    assert migrate_command.recorded_revisions(four_tenants) == [next_revision] * 4
    assert [migrate_command.has_nicknames(tenant) for tenant in four_tenants] == [(True, True)] * 4
    kept = four_tenants[0].get(f"/phone-numbers/{number['id']}").json
    assert kept["label"] == "Front desk"


def test_migrating_again_does_nothing(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.run_migrate(migration_world)

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.failed) == (0, 0, {})


def test_deleted_and_suspended_tenants_are_migrated_as_well(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.run_flask(migration_world, "tenants", "delete", four_tenants[0].id)
    migrate_command.run_flask(migration_world, "tenants", "suspend", four_tenants[1].id)

    assert migrate_command.run_migrate(migration_world).migrated == 4
    assert migrate_command.has_nicknames(four_tenants[0]) == (True, True)


def test_a_migrated_schema_is_what_a_new_one_is(
    migration_world: Factory,
    four_tenants: list[Tenant],
    revision_tree: RevisionTree,
    next_revision: str,
) -> None:
    revision_tree.add_sql("notes", "CREATE TABLE notes (id uuid CONSTRAINT notes_pkey PRIMARY KEY)")
    migrate_command.run_migrate(migration_world)
    migrate_command.run_flask(migration_world, "db", "upgrade")
    new = migration_world.tenant("New")

    def described(tenant: Tenant) -> set[str]:
        with tenant_session(tenant.ref) as session:
            lines = dump_schema(session.connection(), tenant.ref.schema)
        return {line.replace(tenant.id, "<tenant>") for line in lines}

    assert (
        migrate_command.recorded_revision(new)
        == migrate_command.recorded_revision(four_tenants[0])
        == schema.head()
    )
    assert described(new) ^ described(four_tenants[0]) == set()
    assert any("notes" in line for line in described(new))


def test_tenants_of_different_revisions_reach_the_head_in_one_run(
    migration_world: Factory,
    four_tenants: list[Tenant],
    revision_tree: RevisionTree,
    next_revision: str,
) -> None:
    migrate_command.run_migrate(migration_world, "--tenant", four_tenants[0].id)
    last = revision_tree.add_sql("nicknames_said", "ALTER TABLE phone_numbers ADD COLUMN said text")

    assert migrate_command.run_migrate(migration_world).migrated == 4
    assert migrate_command.recorded_revisions(four_tenants) == [last] * 4


def test_the_work_is_found_by_one_query_however_many_tenants_there_are(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    asked: list[str] = []
    with migration_world.app.app_context(), owners.owner_database(connections=4) as database:
        event.listen(database.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
        outcome, _ = ours.migrate_tenants(database, options=MigrationOptions(workers=2))

    assert outcome.migrated == 4
    assert len([statement for statement in asked if "public.tenants" in statement]) == 1


def test_a_revision_is_compiled_once_for_all_tenants(
    migration_world: Factory,
    four_tenants: list[Tenant],
    revision_tree: RevisionTree,
    next_revision: str,
) -> None:
    written = next(revision_tree.folder.glob("*_nicknames.py"))
    counting = """
    from pathlib import Path
    count = Path(__file__).with_suffix(".count")
    count.write_text("x" + (count.read_text() if count.exists() else ""))
"""
    written.write_text(written.read_text() + counting)
    schema.set_migration_folders(*schema.migration_folders())

    assert migrate_command.run_migrate(migration_world).migrated == 4
    assert written.with_suffix(".count").read_text() == "x"


@pytest.mark.parametrize("workers", ["1", "3", "9"])
def test_any_number_of_workers_do_all_the_work(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str, workers: str
) -> None:
    assert migrate_command.run_migrate(migration_world, "--workers", workers).migrated == 4
    assert migrate_command.recorded_revisions(four_tenants) == [next_revision] * 4


def test_one_tenant_can_be_migrated_alone_and_the_rest_later(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    assert (
        migrate_command.run_migrate(migration_world, "--tenant", four_tenants[2].id).migrated == 1
    )
    assert migrate_command.recorded_revisions(four_tenants) == [FIRST, FIRST, next_revision, FIRST]

    assert migrate_command.run_migrate(migration_world).migrated == 3


def test_a_tenant_that_does_not_exist_is_an_error_that_says_so(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"

    result = migrate_command.run_flask(migration_world, "tenants", "migrate", "--tenant", nobody)

    assert result.exit_code == 1
    assert f"Tenant not found: {nobody}." in result.output
    assert migrate_command.recorded_revisions(four_tenants) == [FIRST] * 4


def test_a_schema_that_is_ahead_of_the_code_is_left_alone_and_named(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.set_recorded_revision(four_tenants[0], "9999")

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["ahead"]) == (0, 3, {four_tenants[0].id: "9999"})
    assert migrate_command.recorded_revision(four_tenants[0]) == "9999"
    assert migrate_command.has_nicknames(four_tenants[0]) == (False, False)


def test_a_dry_run_shows_how_many_and_the_sql_and_changes_nothing(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.set_recorded_revision(four_tenants[0], "9999")

    shown = migrate_command.run_flask(migration_world, "tenants", "migrate", "--dry-run")
    plan = json.loads(
        migrate_command.run_flask(
            migration_world, "tenants", "migrate", "--dry-run", "--json"
        ).stdout
    )

    assert shown.exit_code == 0
    assert f"3 would be migrated to {next_revision}." in shown.stdout
    assert f"3 from {FIRST} to {next_revision}" in shown.stdout
    assert "ADD COLUMN nickname" in shown.stdout
    [found] = plan["behind"]
    assert (found["revision"], found["tenants"], plan["ahead"]) == (FIRST, 3, {"9999": 1})
    assert "CREATE INDEX phone_numbers_nickname_idx" in found["sql"]
    assert migrate_command.recorded_revisions(four_tenants[1:]) == [FIRST] * 3
    assert migrate_command.has_nicknames(four_tenants[1]) == (False, False)


@pytest.mark.parametrize("template_builder", [database_templates.empty])
def test_new_tenants_are_made_with_the_new_revision_from_the_upgrade_on(
    migration_world: Factory, next_revision: str
) -> None:
    before = migration_world.tenant("Before")
    assert (migrate_command.recorded_revision(before), migrate_command.has_nicknames(before)) == (
        FIRST,
        (False, False),
    )

    assert migrate_command.run_flask(migration_world, "db", "upgrade").exit_code == 0
    after = migration_world.tenant("After")

    assert (migrate_command.recorded_revision(after), migrate_command.has_nicknames(after)) == (
        next_revision,
        (True, True),
    )
    assert migrate_command.run_migrate(migration_world).migrated == 1


@pytest.mark.parametrize("template_builder", [database_templates.empty])
def test_an_older_release_does_not_put_its_own_script_on_top(
    migration_world: Factory, revision_tree: RevisionTree, next_revision: str
) -> None:
    migrate_command.run_flask(migration_world, "db", "upgrade")
    revision_tree.restore()

    assert migrate_command.run_flask(migration_world, "db", "upgrade").exit_code == 0

    assert migrate_command.recorded_revision(migration_world.tenant("Newest")) == next_revision


def test_numbers_can_be_claimed_while_a_schema_is_migrated(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    """Claiming locks the key of the tenant's row; taking the row for a migration does not."""
    with admin_db.public_session() as session:
        session.execute(
            text("SELECT 1 FROM public.tenants WHERE id = :id FOR KEY SHARE"),
            {"id": four_tenants[0].id},
        )
        assert migrate_command.run_migrate(migration_world).migrated == 4


def test_a_terminal_sees_a_bar_and_a_summary(
    migration_world: Factory,
    four_tenants: list[Tenant],
    next_revision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrate_command.block_next_revision(four_tenants[1])
    monkeypatch.setattr("vca.registry.tenants.migrate_command._is_terminal", lambda: True)

    result = migrate_command.run_flask(migration_world, "tenants", "migrate")

    assert result.exit_code == 1
    assert f"To {next_revision}" in result.stdout
    assert f"3 migrated to {next_revision}, 1 left." in result.stdout
    assert f"failed: {four_tenants[1].id} (42P07 DuplicateTable: relation" in result.stdout


def test_without_a_terminal_each_line_is_json_and_the_last_the_summary(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[1])

    lines = migrate_command.json_lines(
        migrate_command.run_flask(migration_world, "tenants", "migrate")
    )

    assert (lines[0]["event"], lines[0]["behind"]) == ("tenants.migrating", 4)
    failed = [line for line in lines if line["event"] == "tenant.failed"]
    assert {line["tenant_id"] for line in failed} == {four_tenants[1].id}
    assert [line["event"] for line in lines].count("tenants.retrying") == len(failed) - 1
    assert lines[-1]["event"] == "tenants.migrated"
    assert (lines[-1]["migrated"], lines[-1]["left"]) == (3, 1)


def test_progress_is_told_at_intervals(
    migration_world: Factory,
    four_tenants: list[Tenant],
    next_revision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vca.registry.tenants.migrate_command._REPORT_INTERVAL_S", 0.0)

    lines = migrate_command.json_lines(
        migrate_command.run_flask(migration_world, "tenants", "migrate")
    )

    progress = [line for line in lines if line["event"] == "tenants.progress"]
    assert (progress[-1]["done"], progress[-1]["behind"]) == (4, 0)
