"""Run tasks as the worker does, also those that a test has registered."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support import admin_db
from tests.support.services import app_services
from vca.jobs import worker_loop
from vca.jobs.lanes import Lane
from vca.jobs.worker_loop import TaskRunner
from vca.servers import worker


def task_runner(lane: Lane) -> TaskRunner:
    """Return what calls the tasks of a lane with the services of the app under test."""
    return run_task


def run_due_jobs(worker_lanes: Sequence[Lane] = worker_loop.DEFAULT_LANES) -> None:
    """Run the jobs that are due in these lanes, and those that they enqueue."""
    worker_loop.run_worker(
        admin_db.database_url(), run_task=task_runner, worker_lanes=worker_lanes, wait=False
    )


def run_task(function: Callable[..., None], args: Mapping[str, Any]) -> None:
    """Call a task with the services of the app, unless a test has registered it without them."""
    if "services" in inspect.signature(function).parameters:
        worker.run_task(function, args, services=app_services())
    else:
        worker_loop.call_task(function, args)
