"""A lane's manager takes jobs for its free slots, and finishes several with one statement."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from typing_extensions import override

from vca.jobs import lane_manager
from vca.jobs.lane_manager import LaneJobManager
from vca.jobs.lanes import Lane


class FakeQueue(BaseConnector):
    """A queue of job ids; `statements` has the finished ids and the limit of each statement."""

    def __init__(self, count: int) -> None:
        self.waiting = list(range(1, count + 1))
        self.statements: list[tuple[list[int], int]] = []
        self.retried: list[int] = []
        self.error: Exception | None = None
        self.is_open = asyncio.Event()
        self.is_open.set()

    @override
    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        await self.is_open.wait()
        self.statements.append((arguments["finished"], arguments["limit"]))
        if self.error is not None:
            raise self.error
        acquired, self.waiting = (
            self.waiting[: arguments["limit"]],
            self.waiting[arguments["limit"] :],
        )
        return [_job_row(job_id) for job_id in acquired]

    @override
    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        self.retried.append(arguments["job_id"])


def _job_row(job_id: int) -> dict[str, Any]:
    return {
        "id": job_id,
        "status": "doing",
        "task_name": "planted.test",
        "priority": 0,
        "lock": None,
        "queueing_lock": None,
        "args": {},
        "scheduled_at": None,
        "queue_name": "calls",
        "attempts": 0,
        "worker_id": 7,
    }


Scenario = Callable[[FakeQueue, LaneJobManager], Coroutine[Any, Any, None]]


def _run(scenario: Scenario, *, jobs: int, slots: int = 4, drains: bool = False) -> None:
    async def run_scenario() -> None:
        queue = FakeQueue(jobs)
        manager = LaneJobManager(queue, Lane("calls", slots), stalled_after_s=24, drains=drains)
        await scenario(queue, manager)

    asyncio.run(run_scenario())


async def _fetch(manager: LaneJobManager) -> Job:
    job = await manager.fetch_job(None, 7)
    assert job is not None
    return job


async def _succeed(manager: LaneJobManager, job: Job) -> None:
    await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)


def test_one_statement_takes_a_job_for_each_free_slot_and_no_more() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        jobs = [await _fetch(manager) for _ in range(4)]

        assert [job.id for job in jobs] == [1, 2, 3, 4]
        assert queue.statements == [([], 4)]
        assert queue.waiting == [5, 6]

    _run(scenario, jobs=6)


def test_many_slots_are_filled_by_several_statements() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        for _ in range(20):
            await _fetch(manager)

        assert queue.statements == [([], 16), ([], 16)]

    _run(scenario, jobs=40, slots=64)


def test_jobs_that_end_while_a_statement_is_sent_are_finished_by_the_next_one() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        jobs = [await _fetch(manager) for _ in range(3)]
        queue.is_open.clear()
        first = asyncio.create_task(_succeed(manager, jobs[0]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(_succeed(manager, job)) for job in jobs[1:]]
        await asyncio.sleep(0)
        queue.is_open.set()
        await asyncio.gather(first, *others)

        assert queue.statements[1:] == [([1], 2), ([2, 3], 4)]

    _run(scenario, jobs=3)


def test_the_statement_that_finishes_a_job_takes_the_next_for_its_slot() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        job = await _fetch(manager)
        await _succeed(manager, job)

        assert (await _fetch(manager)).id == 2
        assert queue.statements == [([], 1), ([1], 1)]

    _run(scenario, jobs=2, slots=1)


def test_an_empty_lane_is_asked_again_after_the_polling_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_manager, "POLL_S", 0)

    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        assert await manager.fetch_job(None, 7) is None
        queue.waiting.append(1)

        assert (await _fetch(manager)).id == 1

    _run(scenario, jobs=0)


def test_a_statement_that_fails_ends_the_worker_because_its_answer_may_be_lost() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        job = await _fetch(manager)
        queue.error = ConnectorException("the connection was closed")
        with pytest.raises(ConnectorException):
            await _succeed(manager, job)
        queue.error = None

        with pytest.raises(ConnectorException):
            await manager.fetch_job(None, 7)

    _run(scenario, jobs=1)


def test_the_jobs_of_a_failed_statement_are_finished_by_a_later_one_that_takes_none() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        jobs = [await _fetch(manager) for _ in range(2)]
        queue.error = ConnectorException("the connection was closed")
        with pytest.raises(ConnectorException):
            await _succeed(manager, jobs[0])
        queue.error = None

        await _succeed(manager, jobs[1])

        assert queue.statements[-1] == ([1, 2], 0)

    _run(scenario, jobs=3, slots=2)


def test_a_job_that_fails_while_a_statement_is_sent_gives_its_tenant_another_turn() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        succeeding, failing = [await _fetch(manager) for _ in range(2)]
        queue.is_open.clear()
        finishing = asyncio.create_task(_succeed(manager, succeeding))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await manager.retry_job(failing)
        queue.waiting, waiting = [], queue.waiting  # the tenant is at its cap for this statement
        queue.is_open.set()
        await finishing
        queue.waiting = [*waiting, 3]

        assert (await _fetch(manager)).id == 3

    _run(scenario, jobs=2, drains=True)


def test_a_stopped_lane_returns_the_jobs_that_it_has_not_started() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        running = await _fetch(manager)
        await manager.close()

        assert queue.retried == [2, 3]
        assert await manager.fetch_job(None, 7) is None
        await _succeed(manager, running)
        assert queue.statements == [([], 4), ([1], 0)]

    _run(scenario, jobs=3)


def test_jobs_of_a_statement_that_is_sent_during_the_stop_are_returned() -> None:
    async def scenario(queue: FakeQueue, manager: LaneJobManager) -> None:
        queue.is_open.clear()
        fetch = asyncio.create_task(manager.fetch_job(None, 7))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing = asyncio.create_task(manager.close())
        await asyncio.sleep(0)
        queue.is_open.set()
        await closing

        assert await fetch is None
        assert queue.retried == [1, 2]

    _run(scenario, jobs=2)
