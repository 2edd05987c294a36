"""The worker loop of `flask worker`: executes the jobs of `vca.jobs.queue`.

The queue is procrastinate, in the schema `jobs`. This module is separate from `vca.jobs.queue`, so
that web servers and commands, which only enqueue, need not load procrastinate.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
from procrastinate import App, PsycopgConnector, RetryStrategy, signals
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status

from vca.jobs import queue
from vca.kit import deadline
from vca.kit.db import DatabaseUnavailable
from vca.observability import log, metrics

POLL_S = 0.25
HEARTBEAT_S = 2
SHUTDOWN_S = 20
# A worker that is shutting down sends no heartbeats while it finishes its jobs.
STALLED_AFTER_S = SHUTDOWN_S + 2 * HEARTBEAT_S
RESCUE_CRON = "* * * * * */5"  # the sixth field is seconds
JOB_BUDGET_S = 300
CONNECT_TIMEOUT_S = 3
RECONNECT_PAUSE_S = 1.0


def create_worker_app(dsn: str) -> App:
    """Create a procrastinate app with every registered task, for a separate process."""
    connector = PsycopgConnector(
        conninfo=dsn,
        timeout=CONNECT_TIMEOUT_S,
        min_size=1,
        max_size=4,
        kwargs={
            "options": "-c search_path=jobs -c timezone=UTC",
            "connect_timeout": CONNECT_TIMEOUT_S,
        },
    )
    app = App(connector=connector)
    retry = RetryStrategy(max_attempts=8, exponential_wait=4)
    for name, function in queue.TASKS.items():
        app.task(name=name, queue="default", retry=retry)(_with_budget(name, function))
    rescue = app.task(name="jobs.rescue", queue="default")(_make_rescue_job(app))
    app.periodic(cron=RESCUE_CRON)(rescue)
    return app


def run_worker(dsn: str, *, concurrency: int = 4, wait: bool = True) -> None:
    """Execute jobs until SIGTERM or Ctrl-C; with `wait=False`, until none is due.

    With `wait`, the worker survives a database outage: it reconnects until the database is back.
    Without `wait`, it raises DatabaseUnavailable.
    """
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # logs every connection attempt
    asyncio.run(_run_until_stopped(dsn, concurrency=concurrency, wait=wait))


async def _run_until_stopped(dsn: str, *, concurrency: int, wait: bool) -> None:
    """Run procrastinate's worker; start another one when a database outage has ended it."""
    stop = asyncio.Event()
    with signals.on_stop(stop.set):
        while not stop.is_set():
            try:
                await _run_worker_app(
                    create_worker_app(dsn), stop, concurrency=concurrency, wait=wait
                )
            except (ConnectorException, psycopg.OperationalError, TimeoutError) as error:
                if not wait:
                    raise DatabaseUnavailable from error
                log.get_logger().warning("worker.database_away", exc_info=error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), RECONNECT_PAUSE_S)
            if not wait:
                return


async def _run_worker_app(app: App, stop: asyncio.Event, *, concurrency: int, wait: bool) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await app.open_async()
        worker_task = asyncio.create_task(
            app.run_worker_async(
                concurrency=concurrency,
                wait=wait,
                listen_notify=False,
                fetch_job_polling_interval=POLL_S,
                delete_jobs="successful",
                shutdown_graceful_timeout=SHUTDOWN_S,
                update_heartbeat_interval=HEARTBEAT_S,
                stalled_worker_timeout=STALLED_AFTER_S,
                install_signal_handlers=False,
            )
        )
        stop_task = asyncio.create_task(stop.wait())
        await asyncio.wait((worker_task, stop_task), return_when=asyncio.FIRST_COMPLETED)
        stop_task.cancel()
        worker_task.cancel()  # lets the running jobs finish first
        with suppress(asyncio.CancelledError):
            await worker_task
    finally:
        await app.close_async()


def _with_budget(name: str, function: Callable[..., None]) -> Callable[..., None]:
    def run_job(**args: Any) -> None:
        try:
            with deadline.within(JOB_BUDGET_S):
                if "tenant_id" in args:
                    queue.check_admission(UUID(args["tenant_id"]))
                function(**args)
        except Exception as error:
            metrics.JOBS.inc(task=name, outcome="failed")
            log.get_logger().warning(
                "job.failed", task=name, tenant_id=args.get("tenant_id"), exc_info=error
            )
            raise
        metrics.JOBS.inc(task=name, outcome="done")

    return run_job


def _make_rescue_job(app: App) -> Callable[..., Any]:
    """Return the job that retries jobs of killed workers, which procrastinate leaves as `doing`."""

    async def rescue(timestamp: int) -> None:
        stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_S)
        for job in stalled:
            metrics.JOBS.inc(task=job.task_name, outcome="rescued")
            log.get_logger().warning("jobs.rescued", job_id=job.id, task=job.task_name)
            try:
                await app.job_manager.retry_job(job)
            except UniqueViolation:  # the killed job had already enqueued its successor
                await app.job_manager.finish_job(job, status=Status.SUCCEEDED, delete_job=True)

    return rescue
