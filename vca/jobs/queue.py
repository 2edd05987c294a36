"""Durable work: jobs enqueued in the caller's transaction, done by `vca.jobs.worker_loop`.

A task is a plain function under a dotted name; it may run more than once and must bear it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.kit import json

Task = TypeVar("Task", bound=Callable[..., None])

TASKS: dict[str, Callable[..., None]] = {}
_admission_check: Callable[[UUID], None] | None = None
_ENQUEUE = text("SELECT jobs.enqueue(:task, CAST(:args AS jsonb), :run_at, :lock)")
_WITHDRAW = text("SELECT jobs.withdraw(:lock)")


def task(name: str) -> Callable[[Task], Task]:
    """Register the function that does the jobs called `name`."""

    def register(function: Task) -> Task:
        if name in TASKS:
            raise ValueError(f"two tasks are called {name}")
        TASKS[name] = function
        return function

    return register


def set_admission_check(check: Callable[[UUID], None]) -> None:
    """Have `gate` asked before each job of a tenant; what it raises has the job tried again."""
    global _admission_check
    _admission_check = check


def check_admission(tenant_id: UUID) -> None:
    """Ask the gate, if there is one, before a job of this tenant; what it raises rises."""
    if _admission_check is not None:
        _admission_check(tenant_id)


def enqueue(
    session: Session,
    name: str,
    *,
    run_at: datetime | None = None,
    lock: str | None = None,
    **args: Any,
) -> None:
    """Have `name` done after the session's transaction commits, not before `run_at`.

    Inside a tenant the transaction's own tenant id is added to the arguments. While a job of the
    same `lock` waits (locks are each tenant's own) no second one is made.
    """
    parameters = {"task": name, "args": json.dumps(args).decode(), "run_at": run_at, "lock": lock}
    session.execute(_ENQUEUE, parameters)


def withdraw(session: Session, *, lock: str) -> None:
    """Take back the tenant's waiting job of that lock, if there is one."""
    session.execute(_WITHDRAW, {"lock": lock})
