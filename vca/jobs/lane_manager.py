"""Takes and finishes the jobs of one lane for procrastinate's worker, several in one statement."""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime

from procrastinate.connector import BaseConnector
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from typing_extensions import override

from vca.jobs.lanes import Lane

POLL_S = 0.25
RESCUE_JOB = "jobs.rescue"
# The first of the taken jobs starts when all are taken.
_TAKEN_AT_ONCE = 16
_FINISH_AND_TAKE = (
    "SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name,"
    " attempts, worker_id"
    " FROM jobs.finish_and_take(%(lane)s, %(worker_id)s, %(cap)s, %(finished)s, %(limit)s)"
)
_ADOPT = "SELECT jobs.adopt(%(lanes)s, %(limit)s) AS adopted"
_ADOPTED_AT_ONCE = 500


class LaneJobManager(JobManager):
    """Takes the jobs of one lane, from one tenant after the other, for its free slots.

    One statement deletes the jobs that have ended well and takes others. While it is sent, further
    jobs may end: the next statement deletes all of them.

    While there is no job to take, `fetch_job` waits: the end of a running job may give its tenant
    another turn. It returns None after POLL_S, or, if it `drains` the lane, when no job of this
    worker is running. `adopted_tasks` contains the lane of each task whose jobs it moves out of the
    queue of earlier releases. `work_count` is the number of jobs that were taken or moved.
    `stalled_after_s` is the age of a heartbeat after which its worker is dead.
    """

    def __init__(
        self,
        connector: BaseConnector,
        lane: Lane,
        *,
        stalled_after_s: float,
        drains: bool = False,
        adopted_tasks: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(connector)
        self.lane = lane
        self.work_count = 0
        self._stalled_after_s = stalled_after_s
        self._drains = drains
        self._adopted_tasks = adopted_tasks
        self._worker_id: int | None = None
        self._acquired_jobs: deque[Job] = deque()
        self._running_ids: set[int | None] = set()  # with those in `_acquired_jobs`
        self._finished_ids: list[int | None] = []
        self._statement_lock = asyncio.Lock()
        self._next_statement: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._is_empty = self._is_closed = False
        self._has_ended_meanwhile = False  # a job, while a statement was being sent
        self._changed = asyncio.Event()

    @override
    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        self._worker_id = worker_id
        while not self._is_closed:
            if self._failure is not None:
                raise self._failure
            if self._acquired_jobs:
                return self._acquired_jobs.popleft()
            if not self._is_empty:
                await self._finish_and_take()
            elif self._drains and not self._running_ids:
                return None
            elif not await self._wait_for_change():
                self._is_empty = False
                return None
        return None

    async def _wait_for_change(self) -> bool:
        self._changed.clear()
        try:
            async with asyncio.timeout(None if self._drains else POLL_S):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _finish_and_take(self) -> None:
        """Wait for the next statement, which all callers share that come before it is sent."""
        if self._next_statement is None:
            self._next_statement = asyncio.create_task(self._send_statement())
        await asyncio.shield(self._next_statement)

    async def _send_statement(self) -> None:
        async with self._statement_lock:
            self._next_statement = None
            finished_ids, self._finished_ids = self._finished_ids, []
            try:
                await self._execute_statement(finished_ids)
            except Exception as error:
                # Jobs may have been taken whose answer was lost. They are rescued once this worker
                # has ended, so it must end.
                self._failure = error
                self._finished_ids[:0] = finished_ids  # a job that ends later may send them
                raise
            finally:
                self._running_ids.difference_update(finished_ids)
                self._changed.set()

    async def _execute_statement(self, finished_ids: list[int | None]) -> None:
        free_slots = self.lane.slots - len(self._running_ids) + len(finished_ids)
        takes_jobs = not self._is_closed and self._failure is None
        limit = min(free_slots, _TAKEN_AT_ONCE) if takes_jobs else 0
        if self._adopted_tasks is not None and limit:
            await self._adopt_jobs(self._adopted_tasks)
        self._has_ended_meanwhile = False
        rows = await self.connector.execute_query_all_async(
            _FINISH_AND_TAKE,
            lane=self.lane.name,
            worker_id=self._worker_id,
            cap=self.lane.cap,
            finished=finished_ids,
            limit=limit,
        )
        jobs = [Job.from_row(row) for row in rows]
        self._acquired_jobs.extend(jobs)
        self._running_ids.update(job.id for job in jobs)
        self._is_empty = len(jobs) < limit and not self._has_ended_meanwhile
        self.work_count += sum(job.task_name != RESCUE_JOB for job in jobs)

    async def _adopt_jobs(self, lanes_of_tasks: Mapping[str, str]) -> None:
        """Move all due jobs of earlier releases: `jobs.take` gives the batch lane what is left."""
        adopted_count = _ADOPTED_AT_ONCE
        while adopted_count >= _ADOPTED_AT_ONCE:
            row = await self.connector.execute_query_one_async(
                _ADOPT, lanes=dict(lanes_of_tasks), limit=_ADOPTED_AT_ONCE
            )
            adopted_count = row["adopted"]
            self.work_count += adopted_count

    @override
    async def update_heartbeat(self, worker_id: int) -> None:
        """Say that the worker lives, and delete those that have not done so for long.

        procrastinate deletes dead workers only when one starts, and one that starts right after its
        predecessor was killed finds that alive still. Until then the jobs of the dead worker occupy
        slots, also the one that the rescue of these jobs needs.
        """
        await super().update_heartbeat(worker_id)
        await self.prune_stalled_workers(self._stalled_after_s)

    @override
    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        if status is Status.SUCCEEDED and delete_job:
            self._finished_ids.append(job.id)
            await self._finish_and_take()
            return
        try:
            await super().finish_job(job, status, delete_job)
        finally:  # or a worker that drains its lane would wait for the job without end
            self._end_job(job)

    @override
    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        try:
            await super().retry_job(job, retry_at, priority, queue, lock)
        finally:
            self._end_job(job)

    def _end_job(self, job: Job) -> None:
        self._running_ids.discard(job.id)
        self._is_empty = False
        self._has_ended_meanwhile = True
        self._changed.set()

    async def return_job(self, job: Job) -> None:
        """Make a taken job wait again; raises nothing if its successor waits already."""
        try:
            await self.retry_job(job)
        except UniqueViolation:
            await super().finish_job(job, Status.SUCCEEDED, delete_job=True)

    async def close(self) -> None:
        """Take no more jobs, and return those that no slot has started."""
        self._is_closed = True
        self._changed.set()
        async with self._statement_lock:  # the statement that is being sent may take jobs
            while self._acquired_jobs:
                await self.return_job(self._acquired_jobs.popleft())
