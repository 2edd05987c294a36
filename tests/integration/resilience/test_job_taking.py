"""`jobs.take` gives each tenant its share of a lane, in turns, whatever others have enqueued."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from tests.support import admin_db
from tests.support.concurrency import run_concurrently
from vca.kit.db import Database

A, B, C = (str(UUID(int=number)) for number in (10, 11, 12))
PLATFORM = None
_ADD = """
INSERT INTO jobs.procrastinate_jobs
    (queue_name, task_name, args, scheduled_at, priority, lock, queueing_lock)
SELECT %(lane)s, %(task)s, jsonb_strip_nulls(jsonb_build_object('tenant_id', %(tenant)s::text)),
    now() + make_interval(secs => %(due_in_s)s), %(priority)s, %(lock)s, %(queueing_lock)s
FROM generate_series(1, %(count)s) RETURNING id
"""
_TAKE = "SELECT id, args->>'tenant_id', queue_name FROM jobs.take(%s, %s, %s)"
_ROWS_READ = """
SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables
WHERE relid = 'jobs.procrastinate_jobs'::regclass
"""


class Queue:
    """A connection that adds, takes and ends jobs as a worker does."""

    def __init__(self) -> None:
        self._connection = psycopg2.connect(admin_db.database_url())
        self._connection.autocommit = True
        [(self.worker,)] = self.execute("SELECT jobs.procrastinate_register_worker_v1()")

    def execute(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def add(self, tenant: str | None, count: int = 1, **fields: Any) -> list[int]:
        """Add jobs to the lane `batch` and return their ids."""
        values = {
            "lane": "batch",
            "task": "planted.test",
            "due_in_s": None,
            "priority": 0,
            "lock": None,
            "queueing_lock": None,
        }
        rows = self.execute(_ADD, {**values, "tenant": tenant, "count": count, **fields})
        return [row[0] for row in rows]

    def take(self, lane: str = "batch", cap: int = 1_000) -> tuple[int, str | None] | None:
        """Take a job; return its id and tenant, or None."""
        [(job_id, tenant, _)] = self.execute(_TAKE, (lane, self.worker, cap))
        return None if job_id is None else (job_id, tenant)

    def take_all(self, **options: Any) -> list[str | None]:
        """Take jobs until there is none; return their tenants in order."""
        tenants = []
        while (job := self.take(**options)) is not None:
            tenants.append(job[1])
        return tenants

    def finish(self, job_id: int) -> None:
        self.execute("SELECT jobs.procrastinate_finish_job_v1(%s, 'succeeded', true)", [job_id])

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def jobs(direct_database: Database) -> Iterator[Queue]:
    """Return an empty queue, in which no tenant has had a turn."""
    queue = Queue()
    queue.execute("DELETE FROM jobs.lanes")
    yield queue
    queue.close()


def test_tenants_take_turns_however_many_jobs_one_has(jobs: Queue) -> None:
    jobs.add(A, 5)
    jobs.add(B, 1)
    jobs.add(C, 2)
    jobs.add(PLATFORM, 2)

    assert jobs.take_all() == [A, B, C, PLATFORM, A, C, PLATFORM, A, A, A]


def test_the_turn_continues_where_the_worker_before_stopped(jobs: Queue) -> None:
    jobs.add(A, 3)
    jobs.add(B, 3)
    other = Queue()

    tenants = [queue.take() for queue in (jobs, other, jobs, other)]

    other.close()
    assert [job and job[1] for job in tenants] == [A, B, A, B]


def test_a_tenant_at_its_cap_has_no_turn_until_a_job_ends(jobs: Queue) -> None:
    first, second, third = jobs.add(A, 3)
    [of_b] = jobs.add(B)

    assert [jobs.take(cap=2) for _ in range(4)] == [(first, A), (of_b, B), (second, A), None]

    jobs.finish(first)
    assert [jobs.take(cap=2) for _ in range(2)] == [(third, A), None]


def test_the_jobs_of_a_dead_worker_hold_no_slots_once_it_was_removed(jobs: Queue) -> None:
    """The job that rescues them is one of the platform, and needs a slot itself."""
    dead = Queue()
    jobs.add(PLATFORM, 3)
    assert dead.take_all(cap=1) == [PLATFORM]
    assert jobs.take(cap=1) is None

    dead.execute("SELECT jobs.procrastinate_unregister_worker_v1(%s)", [dead.worker])
    dead.close()

    assert jobs.take_all(cap=1) == [PLATFORM]


def test_the_cap_counts_each_lane_alone_and_the_platform_as_a_tenant(jobs: Queue) -> None:
    for lane in ("batch", "calls"):
        jobs.add(A, 2, lane=lane)
        jobs.add(PLATFORM, 2, lane=lane)

    assert jobs.take_all(cap=1) == [A, PLATFORM]
    assert jobs.take_all(lane="calls", cap=1) == [A, PLATFORM]
    assert jobs.take_all(lane="deliveries", cap=1) == []


def test_the_cap_is_exact_when_many_workers_take_at_the_same_moment(jobs: Queue) -> None:
    for tenant in (A, B, C):
        jobs.add(tenant, 30)
    workers = [Queue() for _ in range(8)]

    tenants_by_worker = run_concurrently([partial(queue.take_all, cap=5) for queue in workers])

    for queue in workers:
        queue.close()
    assert Counter(chain.from_iterable(tenants_by_worker)) == {A: 5, B: 5, C: 5}
    assert jobs.execute("SELECT count(*) FROM jobs.procrastinate_jobs WHERE status = 'doing'") == [
        (15,)
    ]


def test_jobs_are_taken_when_they_are_due_and_not_before(jobs: Queue) -> None:
    [late] = jobs.add(A, due_in_s=60)
    [due] = jobs.add(A, due_in_s=-60)

    assert jobs.take() == (due, A)
    assert jobs.take() is None

    jobs.execute("UPDATE jobs.procrastinate_jobs SET scheduled_at = now() WHERE id = %s", [late])
    assert jobs.take() == (late, A)


def test_a_retried_job_waits_for_its_time_again(jobs: Queue) -> None:
    [job] = jobs.add(A, due_in_s=-60)
    assert jobs.take() == (job, A)
    retry = "SELECT jobs.procrastinate_retry_job_v2(%s, now() + interval %s, NULL, NULL, NULL)"

    jobs.execute(retry, (job, "1 minute"))
    assert jobs.take() is None
    jobs.execute("UPDATE jobs.procrastinate_jobs SET scheduled_at = now() - interval '1 second'")

    assert jobs.take() == (job, A)
    assert jobs.execute("SELECT attempts FROM jobs.procrastinate_jobs") == [(1,)]


def test_the_highest_priority_of_a_tenant_comes_first_then_the_oldest(jobs: Queue) -> None:
    first, second = jobs.add(A, 2)
    [urgent] = jobs.add(A, priority=5)
    [of_b] = jobs.add(B, priority=-5)

    assert [jobs.take() for _ in range(4)] == [(urgent, A), (of_b, B), (first, A), (second, A)]


def test_jobs_with_the_same_lock_run_one_after_the_other(jobs: Queue) -> None:
    first, second = jobs.add(A, 2, lock="one")
    [other] = jobs.add(A)

    assert [jobs.take() for _ in range(3)] == [(first, A), (other, A), None]

    jobs.finish(first)
    assert jobs.take() == (second, A)


def test_a_job_that_another_transaction_changes_is_skipped(jobs: Queue) -> None:
    locked, free = jobs.add(A, 2)
    other = Queue()
    other.execute("BEGIN")
    other.execute("SELECT FROM jobs.procrastinate_jobs WHERE id = %s FOR UPDATE", [locked])

    assert [jobs.take() for _ in range(2)] == [(free, A), None]

    other.execute("ROLLBACK")
    other.close()
    assert jobs.take() == (locked, A)


def test_the_batch_lane_takes_the_due_jobs_of_earlier_releases(jobs: Queue) -> None:
    jobs.add(A, 2, lane="default")
    jobs.add(B, 1, lane="default", due_in_s=-60)
    jobs.add(C, 1, lane="default", due_in_s=60)

    assert jobs.take_all(lane="calls") == []
    assert jobs.take_all(lane="batch") == [A, B, A]


def test_jobs_of_earlier_releases_move_into_the_lane_of_their_task(jobs: Queue) -> None:
    [dial] = jobs.add(A, lane="default", task="calls.dial")
    [other] = jobs.add(A, lane="default", task="privacy.export")

    jobs.execute("SELECT jobs.adopt(%s, 10)", ['{"calls.dial": "calls"}'])

    assert jobs.take(lane="calls") == (dial, A)
    assert jobs.take(lane="batch") == (other, A)


def test_a_job_of_the_earlier_queue_has_the_locks_of_its_lane(jobs: Queue) -> None:
    enqueue = "SELECT jobs.enqueue('default', 'recordings.sweep', '{}', NULL, 'sweep')"
    new = "SELECT jobs.enqueue('batch', 'recordings.sweep', '{}', NULL, 'sweep')"

    [(job,)] = jobs.execute(enqueue)
    assert jobs.execute(enqueue) == jobs.execute(new) == [(None,)]  # it waits already
    assert jobs.take() == (job, None)

    [(successor,)] = jobs.execute(new)
    assert jobs.execute(enqueue) == [(None,)]
    jobs.finish(job)
    assert jobs.take() == (successor, None)


def test_workers_of_the_previous_release_take_jobs_of_every_lane(jobs: Queue) -> None:
    ids = {lane: jobs.add(A, lane=lane)[0] for lane in ("calls", "deliveries", "batch")}

    fetch = "SELECT id FROM jobs.procrastinate_fetch_job_v2(NULL, %s)"
    fetched_ids = [jobs.execute(fetch, [jobs.worker])[0][0] for _ in range(3)]

    assert fetched_ids == list(ids.values())


@pytest.mark.parametrize("analyzed_when", ["empty", "full"])
def test_a_take_reads_few_rows_of_a_long_queue(jobs: Queue, analyzed_when: str) -> None:
    if analyzed_when == "empty":
        jobs.execute("ANALYZE jobs.procrastinate_jobs")
    jobs.add(A, 20_000)
    jobs.add(C, 20_000, due_in_s=60)
    for number in range(1_000):
        jobs.add(str(UUID(int=2**64 + number)), due_in_s=60)
    jobs.add(B)
    if analyzed_when == "full":
        jobs.execute("ANALYZE jobs.procrastinate_jobs")
    assert jobs.take_all(cap=2) == [A, B, A]
    jobs.add(B)

    jobs.execute("BEGIN")
    [(before,)] = jobs.execute(_ROWS_READ)
    assert jobs.take(cap=2) is not None
    assert jobs.take(cap=2) is None
    [(after,)] = jobs.execute(_ROWS_READ)
    jobs.execute("ROLLBACK")

    assert after - before < 50
