"""The worker loses no job when it is killed, and survives an outage of the database."""

import asyncio
import signal
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CursorResult, text

from tests.support import admin_db
from tests.support.factories import Tenant
from tests.support.jobs import run_due_jobs
from tests.support.locks import open_transaction, waiting_pids
from tests.support.processes import WORKER_COMMAND, Program, run_program, wait_until
from tests.support.services import app_services
from tests.support.tcp_proxy import TcpProxy
from vca.jobs import queue, worker_loop
from vca.jobs.lane_manager import LaneJobManager
from vca.kit.db import Database
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session

TIMEOUT_S = 30.0


def _registration(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    path = f"/phone-numbers/{number['id']}"
    registration: dict[str, Any] = tenant.get(path).json["registration"]
    return registration


def _is_registered(tenant: Tenant, number: dict[str, Any]) -> bool:
    return bool(_registration(tenant, number)["status"] == "registered")


def _execute(statement: str, **values: Any) -> list[Any]:
    """Execute a statement and return its rows; an empty list if it returns none."""
    with admin_db.public_session() as session:
        result = session.execute(text(statement), values)
        assert isinstance(result, CursorResult)
        return list(result.all()) if result.returns_rows else []


def _list_jobs(tenant: Tenant) -> list[tuple[str, datetime | None]]:
    """Return status and time of the tenant's jobs, without the housekeeping of every tenant."""
    query = (
        "SELECT status::text, scheduled_at FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = :id AND task_name <> 'webhooks.forget'"
        " AND task_name NOT LIKE '%.count' AND task_name <> 'phone_numbers.check' ORDER BY id"
    )
    return [(row[0], row[1]) for row in _execute(query, id=tenant.id)]


def _age_heartbeats() -> None:
    """Make dead workers count as dead, and make the rescue of their jobs due."""
    _execute("UPDATE jobs.procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
    _execute("DELETE FROM jobs.procrastinate_periodic_defers")


def test_the_next_worker_completes_the_job_of_a_killed_worker(
    environment: dict[str, str],
    db_proxy: TcpProxy,
    direct_database: Database,
    acme: Tenant,
    tmp_path: Path,
) -> None:
    number = acme.number()
    table = f'"{acme.ref.schema}".phone_numbers'
    lock_row = f"SELECT 1 FROM {table} WHERE id = '{number['id']}' FOR UPDATE"
    with run_program(WORKER_COMMAND, environment, tmp_path / "first") as first:
        with open_transaction(admin_db.database_url(), lock_row) as other:
            wait_until(lambda: waiting_pids(other))
            first.kill()

        assert [status for status, _ in _list_jobs(acme)] == ["doing"]
        assert _registration(acme, number)["status"] == "pending"

    _age_heartbeats()
    with run_program(WORKER_COMMAND, environment, tmp_path / "second") as second:
        wait_until(lambda: _is_registered(acme, number), within_s=TIMEOUT_S)
        wait_until(lambda: _list_jobs(acme) == [])
        assert "jobs.rescued" in second.events()


def test_a_running_worker_frees_the_slots_of_one_that_dies_later(
    environment: dict[str, str], db_proxy: TcpProxy, direct_database: Database, tmp_path: Path
) -> None:
    _execute("DELETE FROM jobs.procrastinate_jobs")
    [[last_id]] = _execute("SELECT coalesce(max(id), 0) FROM jobs.procrastinate_workers")
    count_lanes = "SELECT count(*) FROM jobs.procrastinate_workers WHERE id > :last_id"
    with run_program(WORKER_COMMAND, environment, tmp_path / "log") as worker:
        wait_until(lambda: _execute(count_lanes, last_id=last_id)[0][0] == 3, within_s=TIMEOUT_S)
        [[dead_id]] = _execute(
            "INSERT INTO jobs.procrastinate_workers (last_heartbeat)"
            " VALUES (now() - interval '1 hour') RETURNING id"
        )
        # The job fills the share of the platform, to which the rescue belongs.
        [[job_id]] = _execute(
            "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, status, worker_id)"
            " VALUES ('batch', 'idempotency.sweep', 'doing', :dead_id) RETURNING id",
            dead_id=dead_id,
        )
        job = "SELECT 1 FROM jobs.procrastinate_jobs WHERE id = :job_id"
        wait_until(lambda: not _execute(job, job_id=job_id), within_s=TIMEOUT_S)
        assert "jobs.rescued" in worker.events()


def test_the_rescue_runs_every_five_seconds_and_ignores_live_workers() -> None:
    app = worker_loop.create_worker_app("postgresql://nowhere")

    [periodic] = app.periodic_registry.periodic_tasks.values()

    assert (periodic.task.name, periodic.cron) == ("jobs.rescue", "* * * * * */5")
    assert worker_loop.STALLED_AFTER_S > worker_loop.SHUTDOWN_S + worker_loop.HEARTBEAT_S


def test_a_temporary_carrier_failure_is_retried_at_the_returned_time(
    direct_database: Database, carrier: FakeTelephonyAdapter, acme: Tenant
) -> None:
    carrier.fail_next(TelephonyError("timed out", permanent=False, code="timeout"))
    number = acme.number()

    run_due_jobs()

    registration = _registration(acme, number)
    assert (registration["status"], registration["code"]) == ("pending", "timeout")
    assert registration["detail"] == "timed out"
    next_attempt_at = datetime.fromisoformat(registration["next_attempt_at"])
    checked_at = datetime.fromisoformat(registration["checked_at"])
    assert 8 <= (next_attempt_at - checked_at).total_seconds() <= 12
    assert _list_jobs(acme) == [("todo", next_attempt_at)]

    _execute("UPDATE jobs.procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")
    run_due_jobs()

    assert _registration(acme, number)["status"] == "registered"
    assert _registration(acme, number)["next_attempt_at"] is None
    assert _list_jobs(acme) == []


def test_a_permanent_carrier_failure_is_returned_and_not_retried(
    direct_database: Database, carrier: FakeTelephonyAdapter, acme: Tenant
) -> None:
    carrier.fail_next(TelephonyError("no such number", permanent=True, code="21452"))
    number = acme.number()

    run_due_jobs()

    registration = _registration(acme, number)
    assert (registration["status"], registration["code"]) == ("failed", "21452")
    assert registration["next_attempt_at"] is None
    assert _list_jobs(acme) == []


@pytest.fixture
def worker(environment: dict[str, str], db_proxy: TcpProxy, tmp_path: Path) -> Iterator[Program]:
    """Return a worker that was started while its database was down."""
    db_proxy.cut()
    with run_program(WORKER_COMMAND, environment, tmp_path / "log") as program:
        yield program


def test_a_worker_survives_outages_and_exits_on_sigterm(
    worker: Program, db_proxy: TcpProxy, acme: Tenant
) -> None:
    first, second, third = acme.number(), acme.number(), acme.number()
    wait_until(lambda: "worker.database_away" in worker.events(), within_s=30)

    db_proxy.restore()
    wait_until(
        lambda: all(_is_registered(acme, number) for number in (first, second, third)),
        within_s=TIMEOUT_S,
    )

    for begin_outage in (db_proxy.cut, db_proxy.freeze):
        begin_outage()
        waiting = acme.number()
        if begin_outage == db_proxy.cut:
            wait_until(lambda: worker.events().count("worker.database_away") > 1, within_s=30)
        assert _registration(acme, waiting)["status"] == "pending"
        db_proxy.restore()
        wait_until(partial(_is_registered, acme, waiting), within_s=TIMEOUT_S)

    db_proxy.cut()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=TIMEOUT_S) == 0
    assert worker.lines()


def test_a_killed_job_with_a_waiting_successor_blocks_no_other_rescue(
    direct_database: Database, acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    with tenant_session(acme.ref, database=app_services().database) as session:
        queue.enqueue(session, "recordings.sweep", lock="recordings.sweep")
    number = acme.number()
    _execute("UPDATE jobs.procrastinate_jobs SET status = 'doing'")
    with tenant_session(acme.ref, database=app_services().database) as session:
        queue.enqueue(session, "recordings.sweep", lock="recordings.sweep")
    assert [status for status, _ in _list_jobs(acme)] == ["doing", "doing", "todo"]

    asyncio.run(_rescue_jobs())

    assert [status for status, _ in _list_jobs(acme)] == ["todo", "todo"]
    run_due_jobs()
    assert _is_registered(acme, number)
    assert _list_jobs(acme) == []


async def _rescue_jobs() -> None:
    app = worker_loop.create_worker_app(admin_db.database_url())
    async with app.open_async():
        for lane in worker_loop.DEFAULT_LANES:
            manager = LaneJobManager(app.connector, lane, stalled_after_s=24)
            await worker_loop._make_rescue_job(manager)(0)
