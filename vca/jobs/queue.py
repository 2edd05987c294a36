"""Durable jobs: enqueued in the caller's transaction, executed by `vca.jobs.worker_loop`.

A task is a plain function with a dotted name. It may run more than once, so it must be idempotent.
Each task declares the lane in which its jobs run; see `vca.jobs.lanes`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from vca.jobs import lanes
from vca.kit import db, json

Task = TypeVar("Task", bound=Callable[..., None])

TASKS: dict[str, Callable[..., None]] = {}
LANES_OF_TASKS: dict[str, str] = {}
_ENQUEUE = "SELECT jobs.enqueue(%(lane)s, %(task)s, %(args)s::jsonb, %(run_at)s, %(lock)s)"
_WITHDRAW = "SELECT jobs.withdraw(%(lock)s)"


def task(name: str, *, lane: str) -> Callable[[Task], Task]:
    """Register the function that executes the jobs called `name`, and the lane of these jobs."""
    if lane not in lanes.NAMES:
        raise ValueError(f"{lane} is not one of the lanes {', '.join(lanes.NAMES)}")

    def register(function: Task) -> Task:
        if name in TASKS:
            raise ValueError(f"two tasks are called {name}")
        TASKS[name], LANES_OF_TASKS[name] = function, lane
        return function

    return register


def lane_of(name: str) -> str:
    """Return the lane in which jobs called `name` run; `batch` if there is no such task."""
    return LANES_OF_TASKS.get(name, lanes.BATCH)


def enqueue(
    session: Session,
    name: str,
    *,
    run_at: datetime | None = None,
    lock: str | None = None,
    **args: Any,
) -> None:
    """Enqueue the job `name` in its lane, to run after the commit and not before `run_at`.

    It is sent with the session's next statement and costs no round trip of its own. In a tenant's
    transaction, the tenant id is added to the arguments. While a job with the same `lock` is
    waiting, no second one is created; locks are separate for each tenant.
    """
    parameters = {
        "lane": lane_of(name),
        "task": name,
        "args": json.dumps(args).decode(),
        "run_at": run_at,
        "lock": lock,
    }
    db.defer_statement(session.connection(), _ENQUEUE, parameters)


def withdraw(session: Session, *, lock: str) -> None:
    """Remove the tenant's waiting job with this lock, if there is one."""
    db.defer_statement(session.connection(), _WITHDRAW, {"lock": lock})
