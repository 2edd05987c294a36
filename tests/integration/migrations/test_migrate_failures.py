"""Tests of migration runs with failing tenants: they are reported, skipped and retried."""

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
from vca.kit.backoff import BackOff
from vca.registry import owner_connections
from vca.registry.tenants import revision_store
from vca.tenancy import migration_runner, schema
from vca.tenancy.migration_runner import (
    MigrationFailure,
    MigrationOptions,
    MigrationOutcome,
    Observer,
)
from vca.tenancy.schema import TenantRef

PRODUCT_HEAD = schema.head()


@pytest.fixture
def template_builder() -> Builder:
    """Use the template with four tenants."""
    return database_templates.four_tenants


class UnblockingObserver(Observer):
    """Repairs a tenant as soon as its migration fails."""

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


def _run_migration(
    world: Factory, options: MigrationOptions, observer: Observer | None = None
) -> MigrationOutcome:
    with world.app.app_context(), owner_connections.owner_database(connections=4) as database:
        outcome, _ = revision_store.migrate_tenants(database, options=options, observer=observer)
    return outcome


def _select_from_phone_numbers(tenant: Tenant) -> str:
    return f'SELECT * FROM "{tenant.ref.schema}".phone_numbers'


def test_a_failing_tenant_is_reported_and_the_others_are_migrated(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    failing_tenant = four_tenants[1]
    migrate_command.block_next_revision(failing_tenant)

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["left"]) == (1, 3, 1)
    assert run.summary["failed"] == {
        failing_tenant.id: {
            "sqlstate": "42P07",
            "reason": "DuplicateTable",
            "message": 'relation "phone_numbers_nickname_idx" already exists',
        }
    }
    assert (
        migrate_command.recorded_revisions(four_tenants)
        == [next_revision, PRODUCT_HEAD] + [next_revision] * 2
    )
    assert migrate_command.has_nicknames(failing_tenant)[0] is False, (
        "a part of the revision was committed"
    )
    status = json.loads(
        migrate_command.run_flask(migration_world, "tenants", "status", "--json").stdout
    )
    assert status == {"head": next_revision, "at_head": 3, "behind": {PRODUCT_HEAD: 1}}


def test_a_repaired_tenant_is_migrated_by_the_next_run(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[0])
    migrate_command.run_migrate(migration_world)
    migrate_command.unblock_next_revision(four_tenants[0])

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated) == (0, 1)
    assert migrate_command.has_nicknames(four_tenants[0]) == (True, True)


def test_a_tenant_repaired_during_the_run_is_migrated_by_a_retry(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[0])
    observer = UnblockingObserver(four_tenants[0])

    outcome = _run_migration(
        migration_world, MigrationOptions(back_off=BackOff((0.01, 0.02), jitter=0)), observer
    )

    assert (outcome.migrated, outcome.remaining, outcome.failed) == (4, 0, {})
    assert [failure.sqlstate for failure in observer.failures] == ["42P07"]
    assert observer.pauses_s == [0.01]


def test_a_failing_tenant_is_retried_once_after_each_of_the_growing_pauses(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[0])

    lines = migrate_command.json_lines(
        migrate_command.run_flask(migration_world, "tenants", "migrate")
    )

    failures = [line for line in lines if line["event"] == "tenant.failed"]
    assert [line["sqlstate"] for line in failures] == ["42P07"] * (
        len(migration_runner.BACK_OFF.delays_s) + 1
    )
    delays_s = MigrationOptions().back_off.delays_s
    assert list(delays_s) == sorted(delays_s)


def test_no_failure_message_contains_sql_or_data(
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


def test_a_tenant_without_a_schema_is_reported_and_skipped(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    with admin_db.public_session() as session:
        session.execute(text(f'DROP SCHEMA "{four_tenants[0].ref.schema}" CASCADE'))

    run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated) == (1, 3)
    assert run.summary["failed"][four_tenants[0].id]["reason"] == "IsolationError"


def test_a_division_by_zero_in_a_revision_is_no_isolation_error(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    revision_tree.add_sql("zero", "SELECT 1 / count(*) FROM phone_numbers")
    four_tenants[0].number()

    run = migrate_command.run_migrate(migration_world)

    assert run.migrated == 1
    assert run.failed == {tenant.id: "22012" for tenant in four_tenants[1:]}


def test_a_tenant_with_a_locked_table_is_skipped_after_the_lock_timeout(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    with open_transaction(admin_db.database_url(), _select_from_phone_numbers(four_tenants[3])):
        run = migrate_command.run_migrate(migration_world, "--lock-timeout", "50")

    assert (run.status, run.migrated, run.failed) == (1, 3, {four_tenants[3].id: "55P03"})
    assert migrate_command.run_migrate(migration_world).migrated == 1


def test_a_lock_that_is_released_in_time_costs_only_a_retry(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    with open_transaction(
        admin_db.database_url(), _select_from_phone_numbers(four_tenants[3])
    ) as reader:
        timer = Timer(0.3, reader.rollback)
        timer.start()
        outcome = _run_migration(
            migration_world,
            MigrationOptions(lock_timeout_ms=20, back_off=BackOff((0.1,) * 50, jitter=0)),
        )
        timer.join()

    assert (outcome.migrated, outcome.remaining) == (4, 0)


def test_the_lock_timeout_is_the_requested_one_or_half_a_second(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    """Traffic queues behind a waiting lock request, so the default is well below a second."""
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


def test_a_tenant_that_another_process_migrates_is_skipped(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    lock_sql = f"SELECT pg_advisory_xact_lock(hashtextextended('{four_tenants[2].id}', 0))"
    with open_transaction(admin_db.database_url(), lock_sql):
        run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["left"]) == (1, 3, 1)
    assert run.summary["failed"] == {
        four_tenants[2].id: {"sqlstate": None, "reason": "InUseElsewhere", "message": None}
    }


def test_a_tenant_whose_row_stays_locked_is_reported_after_a_wait(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    lock_sql = f"SELECT 1 FROM public.tenants WHERE id = '{four_tenants[2].id}' FOR UPDATE"
    with open_transaction(admin_db.database_url(), lock_sql):
        run = migrate_command.run_migrate(migration_world)

    assert (run.status, run.migrated, run.summary["left"]) == (1, 3, 1)
    failure = {
        "sqlstate": "55P03",
        "reason": "LockNotAvailable",
        "message": "canceling statement due to lock timeout",
    }
    assert run.summary["failed"] == {four_tenants[2].id: failure}


def test_concurrent_runs_share_the_work_and_migrate_each_tenant_once(
    migration_world: Factory, four_tenants: list[Tenant], revision_tree: RevisionTree
) -> None:
    """A second migration of a tenant would fail, because the column exists."""
    more_tenants = [migration_world.tenant(f"Tenant {number}") for number in range(12)]
    revision_tree.add_sql(
        "slowly", "ALTER TABLE phone_numbers ADD slow text; SELECT pg_sleep(0.02)"
    )

    options = MigrationOptions(workers=2, back_off=BackOff((0.1,) * 20, jitter=0))
    outcomes = run_concurrently(
        [lambda: _run_migration(migration_world, options) for _ in range(3)]
    )

    assert sum(outcome.migrated for outcome in outcomes) == 16
    assert [(outcome.failed, outcome.remaining) for outcome in outcomes] == [({}, 0)] * 3
    assert sum(outcome.migrated > 0 for outcome in outcomes) > 1
    assert set(migrate_command.recorded_revisions([*four_tenants, *more_tenants])) == {
        schema.head()
    }


# --- The option --canary ------------------------------------------------------------------------


def test_a_failing_canary_tenant_stops_the_run(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[1])

    run = migrate_command.run_migrate(migration_world, "--canary", "2")

    assert (run.status, run.migrated, run.summary["left"]) == (1, 1, 3)
    assert run.summary["stopped_at_canary"] is True
    assert migrate_command.recorded_revisions(four_tenants) == [
        next_revision,
        PRODUCT_HEAD,
        PRODUCT_HEAD,
        PRODUCT_HEAD,
    ]


def test_the_other_tenants_are_migrated_after_the_canary_tenants(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str
) -> None:
    migrate_command.block_next_revision(four_tenants[3])

    run = migrate_command.run_migrate(migration_world, "--canary", "2")

    assert (run.status, run.migrated, list(run.failed)) == (1, 3, [four_tenants[3].id])
    assert run.summary["stopped_at_canary"] is False


@pytest.mark.parametrize("canary_size", ["4", "99"])
def test_the_canary_may_include_all_tenants(
    migration_world: Factory, four_tenants: list[Tenant], next_revision: str, canary_size: str
) -> None:
    assert migrate_command.run_migrate(migration_world, "--canary", canary_size).migrated == 4
