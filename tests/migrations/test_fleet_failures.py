"""A tenant that cannot be migrated is named, skipped and tried again, and the rest go on."""

from threading import Timer

import psycopg2
import pytest
from sqlalchemy import text

from tests.support import fleet, houses, owner
from tests.support.houses import Builder
from tests.support.locks import held
from tests.support.revisions import Tree
from tests.support.threads import at_once
from tests.support.world import Tenant, World
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
def built() -> Builder:
    """There are four tenants."""
    return houses.four


class Mending(Observer):
    """Mends a tenant as soon as it is told that it failed."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.failures: list[MigrationFailure] = []
        self.pauses_s: list[float] = []

    def on_failure(self, tenant: TenantRef, failure: MigrationFailure) -> None:
        assert tenant == self._tenant.ref
        self.failures.append(failure)
        fleet.mend(self._tenant)

    def on_retry(self, count: int, pause_s: float) -> None:
        assert count == 1
        self.pauses_s.append(pause_s)


def _run(
    world: World, options: MigrationOptions, observer: Observer | None = None
) -> MigrationOutcome:
    with world.app.app_context(), owners.owner_database(connections=4) as database:
        outcome, _ = ours.migrate_tenants(database, options=options, observer=observer)
    return outcome


def _reading(tenant: Tenant) -> str:
    return f'SELECT * FROM "{tenant.ref.schema}".phone_numbers'


def test_a_bad_tenant_is_named_and_skipped_and_the_rest_go_on(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    bad = four[1]
    fleet.spoil(bad)

    run = fleet.migrate(fleet_world)

    assert (run.status, run.migrated, run.facts["left"]) == (1, 3, 1)
    assert run.facts["failed"] == {
        bad.id: {
            "sqlstate": "42P07",
            "reason": "DuplicateTable",
            "message": 'relation "phone_numbers_nickname_idx" already exists',
        }
    }
    assert fleet.at(four) == [next_revision, FIRST] + [next_revision] * 2
    assert fleet.has_nicknames(bad)[0] is False, "half of a revision was left behind"
    status = json.loads(fleet.command(fleet_world, "tenants", "status", "--json").stdout)
    assert status == {"head": next_revision, "at_head": 3, "behind": {FIRST: 1}}


def test_a_bad_tenant_that_was_mended_is_migrated_by_the_next_run(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    fleet.spoil(four[0])
    fleet.migrate(fleet_world)
    fleet.mend(four[0])

    run = fleet.migrate(fleet_world)

    assert (run.status, run.migrated) == (0, 1)
    assert fleet.has_nicknames(four[0]) == (True, True)


def test_a_tenant_that_is_mended_in_time_is_migrated_by_the_same_run(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    fleet.spoil(four[0])
    mending = Mending(four[0])

    outcome = _run(fleet_world, MigrationOptions(retry_pauses_s=(0.01, 0.02)), mending)

    assert (outcome.migrated, outcome.remaining, outcome.failed) == (4, 0, {})
    assert [failure.sqlstate for failure in mending.failures] == ["42P07"]
    assert mending.pauses_s == [0.01]


def test_a_tenant_is_tried_in_as_many_rounds_as_there_are_pauses_and_each_is_longer(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    fleet.spoil(four[0])

    lines = fleet.told(fleet.command(fleet_world, "tenants", "migrate"))

    failed = [line for line in lines if line["event"] == "tenant.failed"]
    assert [line["sqlstate"] for line in failed] == ["42P07"] * (len(engine.RETRY_PAUSES_S) + 1)
    assert list(MigrationOptions().retry_pauses_s) == sorted(MigrationOptions().retry_pauses_s)


def test_no_reason_quotes_sql_or_data(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    four[0].number(label="A secret label")
    revisions.sql("labels", "ALTER TABLE phone_numbers ALTER label TYPE integer USING label::int")

    result = fleet.command(fleet_world, "tenants", "migrate")

    assert fleet.told(result)[-1]["failed"][four[0].id]["sqlstate"] == "22P02"
    assert "secret" not in result.output
    assert "ALTER" not in result.output


def test_a_tenant_whose_schema_is_gone_is_named_and_skipped(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    with owner.public() as session:
        session.execute(text(f'DROP SCHEMA "{four[0].ref.schema}" CASCADE'))

    run = fleet.migrate(fleet_world)

    assert (run.status, run.migrated) == (1, 3)
    assert run.facts["failed"][four[0].id]["reason"] == "IsolationError"


def test_a_revision_that_divides_by_zero_is_not_taken_for_a_breach_of_isolation(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    revisions.sql("zero", "SELECT 1 / count(*) FROM phone_numbers")
    four[0].number()

    run = fleet.migrate(fleet_world)

    assert run.migrated == 1
    assert run.failed == {tenant.id: "22012" for tenant in four[1:]}


def test_a_tenant_whose_table_is_read_is_named_and_skipped_in_time(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    with held(owner.url(), _reading(four[3])):
        run = fleet.migrate(fleet_world, "--lock-timeout", "50")

    assert (run.status, run.migrated, run.failed) == (1, 3, {four[3].id: "55P03"})
    assert fleet.migrate(fleet_world).migrated == 1


def test_a_reader_that_goes_away_only_costs_a_retry(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    with held(owner.url(), _reading(four[3])) as reader:
        going = Timer(0.3, reader.rollback)
        going.start()
        outcome = _run(
            fleet_world, MigrationOptions(lock_timeout_ms=20, retry_pauses_s=(0.1,) * 50)
        )
        going.join()

    assert (outcome.migrated, outcome.remaining) == (4, 0)


def test_what_waits_for_a_lock_gives_up_after_the_time_that_was_asked_for(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    """Traffic queues behind a lock that is waited for, so the default is well below a second."""
    revisions.sql("shows", "CREATE TABLE shown AS SELECT current_setting('lock_timeout') AS it")

    fleet.migrate(fleet_world, "--tenant", four[0].id, "--lock-timeout", "70")
    fleet.migrate(fleet_world)

    for tenant, expected in ((four[0], "70ms"), (four[1], "500ms")):
        with psycopg2.connect(owner.url()) as connection, connection.cursor() as cursor:
            cursor.execute(f'SELECT it FROM "{tenant.ref.schema}".shown')
            assert cursor.fetchone() == (expected,)
        connection.close()


def test_a_tenant_that_somebody_else_has_taken_is_left_to_them(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    lock = f"SELECT pg_advisory_xact_lock(hashtextextended('{four[2].id}', 0))"
    with held(owner.url(), lock):
        run = fleet.migrate(fleet_world)

    assert (run.status, run.migrated, run.facts["left"]) == (1, 3, 1)
    assert run.facts["failed"] == {
        four[2].id: {"sqlstate": None, "reason": "InUseElsewhere", "message": None}
    }


def test_a_tenant_whose_row_is_being_changed_is_waited_for_and_then_named(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    row = f"SELECT 1 FROM public.tenants WHERE id = '{four[2].id}' FOR UPDATE"
    with held(owner.url(), row):
        run = fleet.migrate(fleet_world)

    assert (run.status, run.migrated, run.facts["left"]) == (1, 3, 1)
    failed = {
        "sqlstate": "55P03",
        "reason": "LockNotAvailable",
        "message": "canceling statement due to lock timeout",
    }
    assert run.facts["failed"] == {four[2].id: failed}


def test_runs_at_once_share_the_work_and_each_tenant_is_migrated_once(
    fleet_world: World, four: list[Tenant], revisions: Tree
) -> None:
    """A second time would fail: the column is there."""
    more = [fleet_world.tenant(f"Tenant {number}") for number in range(12)]
    revisions.sql("slowly", "ALTER TABLE phone_numbers ADD slow text; SELECT pg_sleep(0.02)")

    options = MigrationOptions(workers=2, retry_pauses_s=(0.1,) * 20)
    outcomes = at_once([lambda: _run(fleet_world, options) for _ in range(3)])

    assert sum(outcome.migrated for outcome in outcomes) == 16
    assert [(outcome.failed, outcome.remaining) for outcome in outcomes] == [({}, 0)] * 3
    assert sum(outcome.migrated > 0 for outcome in outcomes) > 1
    assert set(fleet.at([*four, *more])) == {schema.head()}


# --- The canary ---------------------------------------------------------------------------------


def test_a_canary_that_fails_stops_the_run_and_the_rest_is_left_alone(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    fleet.spoil(four[1])

    run = fleet.migrate(fleet_world, "--canary", "2")

    assert (run.status, run.migrated, run.facts["left"]) == (1, 1, 3)
    assert run.facts["stopped_at_canary"] is True
    assert fleet.at(four) == [next_revision, FIRST, FIRST, FIRST]


def test_after_a_canary_that_lives_the_rest_is_migrated(
    fleet_world: World, four: list[Tenant], next_revision: str
) -> None:
    fleet.spoil(four[3])

    run = fleet.migrate(fleet_world, "--canary", "2")

    assert (run.status, run.migrated, list(run.failed)) == (1, 3, [four[3].id])
    assert run.facts["stopped_at_canary"] is False


@pytest.mark.parametrize("canary", ["4", "99"])
def test_a_canary_may_be_the_whole_fleet(
    fleet_world: World, four: list[Tenant], next_revision: str, canary: str
) -> None:
    assert fleet.migrate(fleet_world, "--canary", canary).migrated == 4
