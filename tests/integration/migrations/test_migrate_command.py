"""Tests of `flask tenants migrate`, which migrates all tenants to the code's revision."""

import pytest
from sqlalchemy import event, text

from tests.support import admin_db, database_templates, migrate_command
from tests.support.database_templates import Builder
from tests.support.factories import Factory, Tenant
from tests.support.revision_tree import RevisionTree
from tests.support.schema_dump import dump_schema
from tests.support.services import app_services
from vca.kit import json
from vca.registry import owner_connections
from vca.registry.tenants import revision_store
from vca.tenancy import schema
from vca.tenancy.migration_runner import MigrationOptions
from vca.tenancy.session import tenant_session

# The newest revision of the product. The fixture `next_revision` adds another one.
PRODUCT_HEAD = schema.head()


@pytest.fixture
def template_builder() -> Builder:
    """Use the template with four tenants."""
    return database_templates.four_tenants


def test_every_tenant_is_migrated_and_its_revision_is_recorded(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    number = four_tenants[0].number(label="Front desk")
    assert migrate_command.recorded_revisions(four_tenants) == [PRODUCT_HEAD] * 4

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.failed, run.summary["left"]) == (0, 4, {}, 0)
    assert migrate_command.recorded_revisions(four_tenants) == [next_revision] * 4
    assert [migrate_command.has_nicknames(tenant) for tenant in four_tenants] == [(True, True)] * 4
    stored_number = four_tenants[0].get(f"/phone-numbers/{number['id']}").json
    assert stored_number["label"] == "Front desk"


def test_a_second_migration_run_does_nothing(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.run_migrate(migration_world)

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.failed) == (0, 0, {})


def test_deleted_and_suspended_tenants_are_migrated(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.run_flask(migration_world, "tenants", "delete", four_tenants[0].id)
    migrate_command.run_flask(migration_world, "tenants", "suspend", four_tenants[1].id)

    assert migrate_command.run_migrate(migration_world).migrated == 4
    assert migrate_command.has_nicknames(four_tenants[0]) == (True, True)


def test_a_migrated_schema_equals_a_new_one(
    migration_world: Factory,
    four_tenants: list[Tenant],
    revision_tree: RevisionTree,
    next_revision: str,
) -> None:
    revision_tree.add_sql("notes", "CREATE TABLE notes (id uuid CONSTRAINT notes_pkey PRIMARY KEY)")
    migrate_command.run_migrate(migration_world)
    migrate_command.run_flask(migration_world, "db", "upgrade")
    new_tenant = migration_world.tenant("New")

    def dump_without_tenant_id(tenant: Tenant) -> set[str]:
        with tenant_session(tenant.ref, database=app_services().database) as session:
            lines = dump_schema(session.connection(), tenant.ref.schema)
        return {line.replace(tenant.id, "<tenant>") for line in lines}

    assert (
        migrate_command.recorded_revision(new_tenant)
        == migrate_command.recorded_revision(four_tenants[0])
        == schema.head()
    )
    assert dump_without_tenant_id(new_tenant) ^ dump_without_tenant_id(four_tenants[0]) == set()
    assert any("notes" in line for line in dump_without_tenant_id(new_tenant))


def test_tenants_of_different_revisions_reach_the_head_in_one_run(
    migration_world: Factory,
    four_tenants: list[Tenant],
    revision_tree: RevisionTree,
    next_revision: str,
) -> None:
    migrate_command.run_migrate(migration_world, "--tenant", four_tenants[0].id)
    last_revision = revision_tree.add_sql(
        "nicknames_said", "ALTER TABLE phone_numbers ADD COLUMN said text"
    )

    assert migrate_command.run_migrate(migration_world).migrated == 4
    assert migrate_command.recorded_revisions(four_tenants) == [last_revision] * 4


def test_one_query_selects_all_outdated_tenants(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    statements: list[str] = []
    with (
        migration_world.app.app_context(),
        owner_connections.owner_database(connections=4) as database,
    ):
        event.listen(
            database.engine,
            "before_cursor_execute",
            lambda *arguments: statements.append(arguments[2]),
        )
        outcome, _ = revision_store.migrate_tenants(database, options=MigrationOptions(workers=2))

    assert outcome.migrated == 4
    assert len([statement for statement in statements if "public.tenants" in statement]) == 1


def test_a_revision_is_compiled_once_for_all_tenants(
    migration_world: Factory,
    four_tenants: list[Tenant],
    revision_tree: RevisionTree,
    next_revision: str,
) -> None:
    revision_file = next(revision_tree.folder.glob("*_nicknames.py"))
    counting_code = """
    from pathlib import Path
    count = Path(__file__).with_suffix(".count")
    count.write_text("x" + (count.read_text() if count.exists() else ""))
"""
    revision_file.write_text(revision_file.read_text() + counting_code)
    schema.set_migration_folders(*schema.migration_folders())

    assert migrate_command.run_migrate(migration_world).migrated == 4
    assert revision_file.with_suffix(".count").read_text() == "x"


@pytest.mark.parametrize("workers", ["1", "3", "9"])
def test_any_number_of_workers_migrates_all_tenants(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str, workers: str
) -> None:
    assert migrate_command.run_migrate(migration_world, "--workers", workers).migrated == 4
    assert migrate_command.recorded_revisions(four_tenants) == [next_revision] * 4


def test_one_tenant_can_be_migrated_before_the_others(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    assert (
        migrate_command.run_migrate(migration_world, "--tenant", four_tenants[2].id).migrated == 1
    )
    assert migrate_command.recorded_revisions(four_tenants) == [
        PRODUCT_HEAD,
        PRODUCT_HEAD,
        next_revision,
        PRODUCT_HEAD,
    ]

    assert migrate_command.run_migrate(migration_world).migrated == 3


def test_an_unknown_tenant_id_is_an_error(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    unknown_id = "00000000-0000-4000-8000-000000000000"

    result = migrate_command.run_flask(
        migration_world, "tenants", "migrate", "--tenant", unknown_id
    )

    assert result.exit_code == 1
    assert f"Tenant not found: {unknown_id}." in result.output
    assert migrate_command.recorded_revisions(four_tenants) == [PRODUCT_HEAD] * 4


def test_a_schema_that_is_newer_than_the_code_is_skipped_and_reported(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.set_recorded_revision(four_tenants[0], "9999")

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["ahead"]) == (0, 3, {four_tenants[0].id: "9999"})
    assert migrate_command.recorded_revision(four_tenants[0]) == "9999"
    assert migrate_command.has_nicknames(four_tenants[0]) == (False, False)


def test_a_dry_run_prints_tenant_count_and_sql_and_changes_nothing(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.set_recorded_revision(four_tenants[0], "9999")

    result = migrate_command.run_flask(migration_world, "tenants", "migrate", "--dry-run")
    plan = json.loads(
        migrate_command.run_flask(
            migration_world, "tenants", "migrate", "--dry-run", "--json"
        ).stdout
    )

    assert result.exit_code == 0
    assert f"3 would be migrated to {next_revision}." in result.stdout
    assert f"3 from {PRODUCT_HEAD} to {next_revision}" in result.stdout
    assert "ADD COLUMN nickname" in result.stdout
    [group] = plan["behind"]
    assert (group["revision"], group["tenants"], plan["ahead"]) == (PRODUCT_HEAD, 3, {"9999": 1})
    assert "CREATE INDEX phone_numbers_nickname_idx" in group["sql"]
    assert migrate_command.recorded_revisions(four_tenants[1:]) == [PRODUCT_HEAD] * 3
    assert migrate_command.has_nicknames(four_tenants[1]) == (False, False)


@pytest.mark.parametrize("template_builder", [database_templates.empty])
def test_tenants_created_after_the_upgrade_have_the_new_revision(
    migration_world: Factory, next_revision: str
) -> None:
    old_tenant = migration_world.tenant("Before")
    assert (
        migrate_command.recorded_revision(old_tenant),
        migrate_command.has_nicknames(old_tenant),
    ) == (
        PRODUCT_HEAD,
        (False, False),
    )

    assert migrate_command.run_flask(migration_world, "db", "upgrade").exit_code == 0
    new_tenant = migration_world.tenant("After")

    assert (
        migrate_command.recorded_revision(new_tenant),
        migrate_command.has_nicknames(new_tenant),
    ) == (
        next_revision,
        (True, True),
    )
    assert migrate_command.run_migrate(migration_world).migrated == 1


@pytest.mark.parametrize("template_builder", [database_templates.empty])
def test_an_older_release_does_not_replace_a_newer_setup_script(
    migration_world: Factory, revision_tree: RevisionTree, next_revision: str
) -> None:
    migrate_command.run_flask(migration_world, "db", "upgrade")
    revision_tree.restore()

    assert migrate_command.run_flask(migration_world, "db", "upgrade").exit_code == 0

    assert migrate_command.recorded_revision(migration_world.tenant("Newest")) == next_revision


def test_numbers_can_be_claimed_while_a_schema_is_migrated(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    """A claim locks the key of the tenant's row, which does not conflict with a migration."""
    with admin_db.public_session() as session:
        session.execute(
            text("SELECT 1 FROM public.tenants WHERE id = :id FOR KEY SHARE"),
            {"id": four_tenants[0].id},
        )
        assert migrate_command.run_migrate(migration_world).migrated == 4


def test_a_terminal_shows_a_progress_bar_and_a_summary(
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


def test_without_a_terminal_each_line_is_json_and_the_last_is_the_summary(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[1])

    lines = migrate_command.json_lines(
        migrate_command.run_flask(migration_world, "tenants", "migrate")
    )

    assert (lines[0]["event"], lines[0]["behind"]) == ("tenants.migrating", 4)
    failures = [line for line in lines if line["event"] == "tenant.failed"]
    assert {line["tenant_id"] for line in failures} == {four_tenants[1].id}
    assert [line["event"] for line in lines].count("tenants.retrying") == len(failures) - 1
    assert lines[-1]["event"] == "tenants.migrated"
    assert (lines[-1]["migrated"], lines[-1]["left"]) == (3, 1)


def test_progress_is_logged_at_intervals(
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
