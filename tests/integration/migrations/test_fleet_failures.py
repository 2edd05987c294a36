"""A tenant that cannot be migrated is named, skipped and tried again, and the rest go on."""

from threading import Timer

import psycopg2
import pytest
from sqlalchemy import text

from tests.support import admin_db, database_templates, migrate_command
from tests.support.concurrency import run_concurrently
from tests.support.database_templates import Builder
from tests.support.factories import Factory, Tenant
from tests.support.locks import open_transaction
from tests.support.revision_tree import RevisionTree
from vca.kit import json
from vca.registry import owner_connections as owners
from vca.registry.tenants import revision_store as ours
from vca.tenancy import migration_runner as engine
from vca.tenancy import schema
from vca.tenancy.migration_runner import (
    MigrationFailure,
    MigrationOptions,
    MigrationOutcome,
    Observer,
)
from vca.tenancy.schema import TenantRef

FIRST = schema.head()


@pytest.fixture
def template_builder() -> Builder:
    """There are four tenants."""
    return database_templates.four_tenants


class UnblockingObserver(Observer):
    """Mends a tenant as soon as it is told that it failed."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.failures: list[MigrationFailure] = []
        self.pauses_s: list[float] = []

    def on_failure(self, tenant: TenantRef, failure: MigrationFailure) -> None:
        assert tenant == self._tenant.ref
        self.failures.append(failure)
        migrate_command.unblock_next_revision(self._tenant)

    def on_retry(self, count: int, pause_s: float) -> None:
        assert count == 1
        self.pauses_s.append(pause_s)


def _run(
    world: Factory, options: MigrationOptions, observer: Observer | None = None
) -> MigrationOutcome:
    with world.app.app_context(), owners.owner_database(connections=4) as database:
        outcome, _ = ours.migrate_tenants(database, options=options, observer=observer)
    return outcome


def _reading(tenant: Tenant) -> str:
    return f'SELECT * FROM "{tenant.ref.schema}".phone_numbers'


def test_a_bad_tenant_is_named_and_skipped_and_the_rest_go_on(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    bad = four_tenants[1]
    migrate_command.block_next_revision(bad)

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["left"]) == (1, 3, 1)
    assert run.summary["failed"] == {
        bad.id: {
            "sqlstate": "42P07",
            "reason": "DuplicateTable",
            "message": 'relation "phone_numbers_nickname_idx" already exists',
        }
    }
    assert (
        migrate_command.recorded_revisions(four_tenants)
        == [next_revision, FIRST] + [next_revision] * 2
    )
    assert migrate_command.has_nicknames(bad)[0] is False, "half of a revision was left behind"
    status = json.loads(
        migrate_command.run_flask(migration_world, "tenants", "status", "--json").stdout
    )
    assert status == {"head": next_revision, "at_head": 3, "behind": {FIRST: 1}}


def test_a_bad_tenant_that_was_mended_is_migrated_by_the_next_run(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[0])
    migrate_command.run_migrate(migration_world)
    migrate_command.unblock_next_revision(four_tenants[0])

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated) == (0, 1)
    assert migrate_command.has_nicknames(four_tenants[0]) == (True, True)


def test_a_tenant_that_is_mended_in_time_is_migrated_by_the_same_run(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[0])
    mending = UnblockingObserver(four_tenants[0])

    outcome = _run(migration_world, MigrationOptions(retry_pauses_s=(0.01, 0.02)), mending)

    assert (outcome.migrated, outcome.remaining, outcome.failed) == (4, 0, {})
    assert [failure.sqlstate for failure in mending.failures] == ["42P07"]
    assert mending.pauses_s == [0.01]


def test_a_tenant_is_tried_in_as_many_rounds_as_there_are_pauses_and_each_is_longer(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[0])

    lines = migrate_command.json_lines(
        migrate_command.run_flask(migration_world, "tenants", "migrate")
    )

    failed = [line for line in lines if line["event"] == "tenant.failed"]
    assert [line["sqlstate"] for line in failed] == ["42P07"] * (len(engine.RETRY_PAUSES_S) + 1)
    assert list(MigrationOptions().retry_pauses_s) == sorted(MigrationOptions().retry_pauses_s)


def test_no_reason_quotes_sql_or_data(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    four_tenants[0].number(label="A secret label")
    revision_tree.add_sql(
        "labels", "ALTER TABLE phone_numbers ALTER label TYPE integer USING label::int"
    )

    result = migrate_command.run_flask(migration_world, "tenants", "migrate")

    assert (
        migrate_command.json_lines(result)[-1]["failed"][four_tenants[0].id]["sqlstate"] == "22P02"
    )
    assert "secret" not in result.output
    assert "ALTER" not in result.output


def test_a_tenant_whose_schema_is_gone_is_named_and_skipped(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    with admin_db.public_session() as session:
        session.execute(text(f'DROP SCHEMA "{four_tenants[0].ref.schema}" CASCADE'))

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated) == (1, 3)
    assert run.summary["failed"][four_tenants[0].id]["reason"] == "IsolationError"


def test_a_revision_that_divides_by_zero_is_not_taken_for_a_breach_of_isolation(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    revision_tree.add_sql("zero", "SELECT 1 / count(*) FROM phone_numbers")
    four_tenants[0].number()

    run = migrate_command.run_migrate(migration_world)

    assert run.migrated == 1
    assert run.failed == {tenant.id: "22012" for tenant in four_tenants[1:]}


def test_a_tenant_whose_table_is_read_is_named_and_skipped_in_time(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    with open_transaction(admin_db.database_url(), _reading(four_tenants[3])):
        run = migrate_command.run_migrate(migration_world, "--lock-timeout", "50")

    assert (run.status, run.migrated, run.failed) == (1, 3, {four_tenants[3].id: "55P03"})
    assert migrate_command.run_migrate(migration_world).migrated == 1


def test_a_reader_that_goes_away_only_costs_a_retry(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    with open_transaction(admin_db.database_url(), _reading(four_tenants[3])) as reader:
        going = Timer(0.3, reader.rollback)
        going.start()
        outcome = _run(
            migration_world, MigrationOptions(lock_timeout_ms=20, retry_pauses_s=(0.1,) * 50)
        )
        going.join()

    assert (outcome.migrated, outcome.remaining) == (4, 0)


def test_what_waits_for_a_lock_gives_up_after_the_time_that_was_asked_for(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    """Traffic queues behind a lock that is waited for, so the default is well below a second."""
    revision_tree.add_sql(
        "shows", "CREATE TABLE shown AS SELECT current_setting('lock_timeout') AS it"
    )

    migrate_command.run_migrate(
        migration_world, "--tenant", four_tenants[0].id, "--lock-timeout", "70"
    )
    migrate_command.run_migrate(migration_world)

    for tenant, expected in ((four_tenants[0], "70ms"), (four_tenants[1], "500ms")):
        with psycopg2.connect(admin_db.database_url()) as connection, connection.cursor() as cursor:
            cursor.execute(f'SELECT it FROM "{tenant.ref.schema}".shown')
            assert cursor.fetchone() == (expected,)
        connection.close()


def test_a_tenant_that_somebody_else_has_taken_is_left_to_them(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    lock = f"SELECT pg_advisory_xact_lock(hashtextextended('{four_tenants[2].id}', 0))"
    with open_transaction(admin_db.database_url(), lock):
        run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["left"]) == (1, 3, 1)
    assert run.summary["failed"] == {
        four_tenants[2].id: {"sqlstate": None, "reason": "InUseElsewhere", "message": None}
    }


def test_a_tenant_whose_row_is_being_changed_is_waited_for_and_then_named(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    row = f"SELECT 1 FROM public.tenants WHERE id = '{four_tenants[2].id}' FOR UPDATE"
    with open_transaction(admin_db.database_url(), row):
        run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["left"]) == (1, 3, 1)
    failed = {
        "sqlstate": "55P03",
        "reason": "LockNotAvailable",
        "message": "canceling statement due to lock timeout",
    }
    assert run.summary["failed"] == {four_tenants[2].id: failed}


def test_runs_at_once_share_the_work_and_each_tenant_is_migrated_once(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    """A second time would fail: the column is there."""
    more = [migration_world.tenant(f"Tenant {number}") for number in range(12)]
    revision_tree.add_sql(
        "slowly", "ALTER TABLE phone_numbers ADD slow text; SELECT pg_sleep(0.02)"
    )

    options = MigrationOptions(workers=2, retry_pauses_s=(0.1,) * 20)
    outcomes = run_concurrently([lambda: _run(migration_world, options) for _ in range(3)])

    assert sum(outcome.migrated for outcome in outcomes) == 16
    assert [(outcome.failed, outcome.remaining) for outcome in outcomes] == [({}, 0)] * 3
    assert sum(outcome.migrated > 0 for outcome in outcomes) > 1
    assert set(migrate_command.recorded_revisions([*four_tenants, *more])) == {schema.head()}


# --- The canary ---------------------------------------------------------------------------------


def test_a_canary_that_fails_stops_the_run_and_the_rest_is_left_alone(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[1])

    run = migrate_command.run_migrate(migration_world, "--canary", "2")

    assert (run.status, run.migrated, run.summary["left"]) == (1, 1, 3)
    assert run.summary["stopped_at_canary"] is True
    assert migrate_command.recorded_revisions(four_tenants) == [next_revision, FIRST, FIRST, FIRST]


def test_after_a_canary_that_lives_the_rest_is_migrated(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[3])

    run = migrate_command.run_migrate(migration_world, "--canary", "2")

    assert (run.status, run.migrated, list(run.failed)) == (1, 3, [four_tenants[3].id])
    assert run.summary["stopped_at_canary"] is False


@pytest.mark.parametrize("canary", ["4", "99"])
def test_a_canary_may_be_the_whole_fleet(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str, canary: str
) -> None:
    assert migrate_command.run_migrate(migration_world, "--canary", canary).migrated == 4
