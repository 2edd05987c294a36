"""The worker loop of `flask worker`: executes the jobs of `vca.jobs.queue`, lane by lane.

The queue is procrastinate, in the schema `jobs`. Each lane is a procrastinate worker in a thread of
its own, with an event loop, an executor and connections of its own. `vca.jobs.lane_manager` takes
the jobs. This module is separate from `vca.jobs.queue`, so that web servers and commands, which
only enqueue, need not load procrastinate.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector, RetryStrategy, signals
from procrastinate.exceptions import ConnectorException
from psycopg_pool import AsyncConnectionPool

from vca.jobs import lanes, queue
from vca.jobs.lane_manager import RESCUE_JOB, LaneJobManager
from vca.jobs.lanes import Lane
from vca.kit import deadline
from vca.kit.db import DatabaseUnavailable
from vca.observability import log, metrics
from vca.settings import JOB_LANES

HEARTBEAT_S = 2
SHUTDOWN_S = 20
# A worker that is shutting down sends no heartbeats while it finishes its jobs.
STALLED_AFTER_S = SHUTDOWN_S + 2 * HEARTBEAT_S
RESCUE_CRON = "* * * * * */5"  # the sixth field is seconds
JOB_BUDGET_S = 300
CONNECT_TIMEOUT_S = 3
RECONNECT_PAUSE_S = 1.0
DEFAULT_LANES = tuple(Lane(name, slots) for name, slots in JOB_LANES)
# The event loop looks up host names in its executor, and must not wait for a job to end.
_EXTRA_THREADS = 1


# Calls the function of a task with the arguments of a job.
TaskRunner = Callable[[Callable[..., None], Mapping[str, Any]], None]


def call_task(function: Callable[..., None], args: Mapping[str, Any]) -> None:
    """Call a task that needs nothing but the arguments of its job."""
    function(**args)


def create_worker_app(
    dsn: str,
    lane: Lane = DEFAULT_LANES[0],
    *,
    run_task: TaskRunner = call_task,
    drains: bool = False,
    adopted_tasks: Mapping[str, str] | None = None,
) -> App:
    """Create the procrastinate app of a lane, with every registered task.

    `run_task` calls the function of a task with the arguments of a job.
    """
    connector = PsycopgConnector(
        conninfo=dsn,
        timeout=CONNECT_TIMEOUT_S,
        min_size=1,
        max_size=lanes.QUEUE_CONNECTIONS,
        pool_factory=_create_pool,
        kwargs={
            "options": "-c search_path=jobs -c timezone=UTC",
            "connect_timeout": CONNECT_TIMEOUT_S,
            # A separate commit would keep the lane's lock until a busy process sends it.
            "autocommit": True,
        },
    )
    app = App(connector=connector)
    manager = LaneJobManager(
        connector,
        lane,
        stalled_after_s=STALLED_AFTER_S,
        drains=drains,
        adopted_tasks=adopted_tasks,
    )
    app.job_manager = manager
    retry = RetryStrategy(max_attempts=8, exponential_wait=4)
    for name, function in queue.TASKS.items():
        run_job = _with_budget(name, function, run_task)
        app.task(name=name, queue=lane.name, retry=retry)(run_job)
    # Each lane rescues its own jobs. The lock keeps rescues from piling up while the lane is full.
    lock = f"{RESCUE_JOB}:{lane.name}"
    rescue = app.task(name=RESCUE_JOB, queue=lane.name, queueing_lock=lock)(
        _make_rescue_job(manager)
    )
    app.periodic(cron=RESCUE_CRON, periodic_id=lane.name)(rescue)
    return app


def _create_pool(**arguments: Any) -> AsyncConnectionPool:
    """Create the pool without procrastinate's check, a round trip before each statement.

    A statement on a broken connection ends the lane's worker, and `LaneWorker` starts another one.
    """
    return AsyncConnectionPool(**{**arguments, "check": None})


def run_worker(
    dsn: str,
    *,
    worker_lanes: Sequence[Lane] = DEFAULT_LANES,
    run_task: Callable[[Lane], TaskRunner],
    wait: bool = True,
) -> None:
    """Execute jobs until SIGTERM or Ctrl-C; with `wait=False`, until none is due.

    `run_task` returns what calls the tasks of a lane. With `wait`, the worker survives a database
    outage: it reconnects until the database is back. Without `wait`, it raises DatabaseUnavailable.
    """
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # logs every connection attempt
    names = [lane.name for lane in worker_lanes]
    while True:
        workers = [
            LaneWorker(
                dsn,
                lane,
                wait=wait,
                run_task=run_task(lane),
                adopted_tasks=_adopted_tasks(names) if lane.name == lanes.BATCH else None,
            )
            for lane in worker_lanes
        ]
        stopped = asyncio.run(_run_lanes(workers))
        # A job may have enqueued another one in a lane that had no more jobs.
        if wait or stopped or not any(worker.work_count for worker in workers):
            return


def _adopted_tasks(names: Sequence[str]) -> dict[str, str]:
    """Return the lane of each task, without those that this worker does not run."""
    return {task: lane for task, lane in queue.LANES_OF_TASKS.items() if lane in names}


async def _run_lanes(workers: Sequence["LaneWorker"]) -> bool:
    """Run each lane in a thread until all have ended; return whether a signal stopped them.

    If one of them raises an error, stop the others and raise it.
    """
    stopped = False

    def stop_all() -> None:
        nonlocal stopped
        stopped = True
        for worker in workers:
            worker.stop()

    loop = asyncio.get_running_loop()
    with signals.on_stop(stop_all), ThreadPoolExecutor(len(workers)) as threads:
        runs = [loop.run_in_executor(threads, worker.run) for worker in workers]
        try:
            await asyncio.gather(*runs)
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.wait(runs)
    return stopped


class LaneWorker:
    """Runs the jobs of one lane; `run` blocks its thread, and any thread may call `stop`."""

    def __init__(
        self,
        dsn: str,
        lane: Lane,
        *,
        wait: bool,
        run_task: TaskRunner,
        adopted_tasks: Mapping[str, str] | None = None,
    ) -> None:
        self.work_count = 0
        self._lane = lane
        self._wait = wait
        self._create_app = partial(
            create_worker_app,
            dsn,
            lane,
            run_task=run_task,
            drains=not wait,
            adopted_tasks=adopted_tasks,
        )
        self._is_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_event = asyncio.Event()

    def run(self) -> None:
        """Run jobs until `stop` is called, or without `wait` until none is due."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Let the running jobs finish, and start no more."""
        self._is_stopped = True
        with suppress(RuntimeError):  # the loop has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop_event.set)

    async def _run(self) -> None:
        """Run procrastinate's worker; start another one when a database outage has ended it."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(
            ThreadPoolExecutor(self._lane.slots + _EXTRA_THREADS, self._lane.name)
        )
        while not self._is_stopped and not self._stop_event.is_set():
            app = self._create_app()
            try:
                await self._run_app(app)
            except (ConnectorException, psycopg.OperationalError, TimeoutError) as error:
                if not self._wait:
                    raise DatabaseUnavailable from error
                log.get_logger().warning(
                    "worker.database_away", lane=self._lane.name, exc_info=error
                )
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop_event.wait(), RECONNECT_PAUSE_S)
            if not self._wait:
                return

    async def _run_app(self, app: App) -> None:
        manager = app.job_manager
        assert isinstance(manager, LaneJobManager)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await app.open_async()
            worker_task = asyncio.create_task(
                app.run_worker_async(
                    queues=[self._lane.name],
                    name=self._lane.name,
                    concurrency=self._lane.slots,
                    wait=self._wait,
                    listen_notify=False,
                    fetch_job_polling_interval=0,  # the manager waits
                    delete_jobs="successful",
                    shutdown_graceful_timeout=SHUTDOWN_S,
                    update_heartbeat_interval=HEARTBEAT_S,
                    stalled_worker_timeout=STALLED_AFTER_S,
                    install_signal_handlers=False,
                )
            )
            stop_task = asyncio.create_task(self._stop_event.wait())
            await asyncio.wait((worker_task, stop_task), return_when=asyncio.FIRST_COMPLETED)
            stop_task.cancel()
            worker_task.cancel()  # lets the running jobs finish first
            try:
                await manager.close()
            finally:
                with suppress(asyncio.CancelledError):
                    await worker_task
        finally:
            self.work_count += manager.work_count
            await app.close_async()


def _with_budget(
    name: str, function: Callable[..., None], run_task: TaskRunner
) -> Callable[..., Coroutine[Any, Any, None]]:
    def run_job(**args: Any) -> None:
        try:
            with deadline.within(JOB_BUDGET_S):
                run_task(function, args)
        except Exception as error:
            metrics.JOBS.inc(task=name, outcome="failed")
            log.get_logger().warning(
                "job.failed", task=name, tenant_id=args.get("tenant_id"), exc_info=error
            )
            raise
        metrics.JOBS.inc(task=name, outcome="done")

    async def run_in_thread(**args: Any) -> None:
        """Run the job in a thread of the lane, to its end: a thread cannot be cancelled."""
        thread = asyncio.ensure_future(asyncio.to_thread(run_job, **args))
        while not thread.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((thread,))
        thread.result()

    return run_in_thread


def _make_rescue_job(manager: LaneJobManager) -> Callable[..., Any]:
    """Return the job that retries jobs of killed workers, which procrastinate leaves as `doing`."""
    lane = manager.lane.name
    queues = [lane, *([lanes.EARLIER_QUEUE] if lane == lanes.BATCH else [])]

    async def rescue(timestamp: int) -> None:
        for queue_name in queues:
            stalled = await manager.get_stalled_jobs(
                queue=queue_name, seconds_since_heartbeat=STALLED_AFTER_S
            )
            for job in stalled:
                metrics.JOBS.inc(task=job.task_name, outcome="rescued")
                log.get_logger().warning("jobs.rescued", job_id=job.id, task=job.task_name)
                await manager.return_job(job)

    return rescue
