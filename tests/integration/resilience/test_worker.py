"""The worker: no job is lost with it, and it outlives its database."""

import asyncio
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support import admin_db
from tests.support.factories import Tenant
from tests.support.locks import open_transaction, waiting_pids
from tests.support.processes import WORKER_COMMAND, Program, run_program, wait_until
from tests.support.tcp_proxy import TcpProxy
from vca.jobs import queue, worker_loop
from vca.kit.db import Database
from vca.telephony.adapter import TelephonyError
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter
from vca.tenancy.session import tenant_session

SOON_S = 30.0


def _registration(tenant: Tenant, number: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/phone-numbers/{number['id']}").json["registration"]
    return found


def _registered(tenant: Tenant, number: dict[str, Any]) -> bool:
    return bool(_registration(tenant, number)["status"] == "registered")


def _run(statement: str, **values: Any) -> list[Any]:
    with admin_db.public_session() as session:
        result = session.execute(text(statement), values)
        return list(result.all()) if result.returns_rows else []


def _jobs(tenant: Tenant) -> list[tuple[str, datetime | None]]:
    """Status and time of every job of the tenant, but for the housekeeping that each has."""
    query = (
        "SELECT status::text, scheduled_at FROM jobs.procrastinate_jobs"
        " WHERE args->>'tenant_id' = :id AND task_name <> 'webhooks.forget'"
        " AND task_name NOT LIKE '%.count' AND task_name <> 'phone_numbers.check' ORDER BY id"
    )
    return [(row[0], row[1]) for row in _run(query, id=tenant.id)]


def _age_heartbeats() -> None:
    """What half a minute does: dead workers are seen to be dead, and it is time to look."""
    _run("UPDATE jobs.procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
    _run("DELETE FROM jobs.procrastinate_periodic_defers")


def test_a_job_whose_worker_was_killed_in_it_is_done_by_the_next(
    environment: dict[str, str],
    db_proxy: TcpProxy,
    direct_database: Database,
    acme: Tenant,
    tmp_path: Path,
) -> None:
    number = acme.number()
    table = f'"{acme.ref.schema}".phone_numbers'
    row = f"SELECT 1 FROM {table} WHERE id = '{number['id']}' FOR UPDATE"
    with run_program(WORKER_COMMAND, environment, tmp_path / "first") as first:
        with open_transaction(admin_db.database_url(), row) as other:
            wait_until(lambda: waiting_pids(other))
            first.kill()

        assert [status for status, _ in _jobs(acme)] == ["doing"]
        assert _registration(acme, number)["status"] == "pending"

    _age_heartbeats()
    with run_program(WORKER_COMMAND, environment, tmp_path / "second") as second:
        wait_until(lambda: _registered(acme, number), within_s=SOON_S)
        wait_until(lambda: _jobs(acme) == [])
        assert "jobs.rescued" in second.events()


def test_the_rescue_is_due_every_five_seconds_and_leaves_living_workers_alone() -> None:
    app = worker_loop.create_worker_app("postgresql://nowhere")

    [periodic] = app.periodic_registry.periodic_tasks.values()

    assert (periodic.task.name, periodic.cron) == ("jobs.rescue", "* * * * * */5")
    assert worker_loop.STALLED_AFTER_S > worker_loop.SHUTDOWN_S + worker_loop.HEARTBEAT_S


def test_a_passing_failure_of_the_carrier_is_tried_again_later_and_the_number_tells_when(
    direct_database: Database, carrier: FakeTelephonyAdapter, acme: Tenant
) -> None:
    carrier.fail_next(TelephonyError("timed out", permanent=False, code="timeout"))
    number = acme.number()

    worker_loop.run_worker(admin_db.database_url(), wait=False)

    told = _registration(acme, number)
    assert (told["status"], told["code"], told["detail"]) == ("pending", "timeout", "timed out")
    next_attempt_at = datetime.fromisoformat(told["next_attempt_at"])
    asked_at = datetime.fromisoformat(told["checked_at"])
    assert 8 <= (next_attempt_at - asked_at).total_seconds() <= 12
    assert _jobs(acme) == [("todo", next_attempt_at)]

    _run("UPDATE jobs.procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")
    worker_loop.run_worker(admin_db.database_url(), wait=False)

    assert _registration(acme, number)["status"] == "registered"
    assert _registration(acme, number)["next_attempt_at"] is None
    assert _jobs(acme) == []


def test_a_permanent_failure_is_told_and_not_tried_again(
    direct_database: Database, carrier: FakeTelephonyAdapter, acme: Tenant
) -> None:
    carrier.fail_next(TelephonyError("no such number", permanent=True, code="21452"))
    number = acme.number()

    worker_loop.run_worker(admin_db.database_url(), wait=False)

    told = _registration(acme, number)
    assert (told["status"], told["code"]) == ("failed", "21452")
    assert told["next_attempt_at"] is None
    assert _jobs(acme) == []


@pytest.fixture
def worker(environment: dict[str, str], db_proxy: TcpProxy, tmp_path: Path) -> Iterator[Program]:
    """A worker that was started while its database was down."""
    db_proxy.cut()
    with run_program(WORKER_COMMAND, environment, tmp_path / "log") as program:
        yield program


def test_a_worker_outlives_its_database_and_ends_when_it_is_asked_to(
    worker: Program, db_proxy: TcpProxy, acme: Tenant
) -> None:
    first, second, third = acme.number(), acme.number(), acme.number()
    wait_until(lambda: "worker.database_away" in worker.events(), within_s=30)

    db_proxy.restore()
    wait_until(lambda: all(_registered(acme, it) for it in (first, second, third)), within_s=SOON_S)

    for how in (db_proxy.cut, db_proxy.freeze):
        how()
        waiting = acme.number()
        if how == db_proxy.cut:
            wait_until(lambda: worker.events().count("worker.database_away") > 1, within_s=30)
        assert _registration(acme, waiting)["status"] == "pending"
        db_proxy.restore()
        wait_until(lambda number=waiting: _registered(acme, number), within_s=SOON_S)

    db_proxy.cut()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=SOON_S) == 0
    assert worker.lines()


def test_a_killed_job_whose_successor_waits_already_holds_up_no_other_rescue(
    direct_database: Database, acme: Tenant, carrier: FakeTelephonyAdapter
) -> None:
    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "recordings.sweep", lock="recordings.sweep")
    number = acme.number()
    _run("UPDATE jobs.procrastinate_jobs SET status = 'doing'")
    with tenant_session(acme.ref) as session:
        queue.enqueue(session, "recordings.sweep", lock="recordings.sweep")
    assert [status for status, _ in _jobs(acme)] == ["doing", "doing", "todo"]

    asyncio.run(_rescue())

    assert [status for status, _ in _jobs(acme)] == ["todo", "todo"]
    worker_loop.run_worker(admin_db.database_url(), wait=False)
    assert _registered(acme, number)
    assert _jobs(acme) == []


async def _rescue() -> None:
    app = worker_loop.create_worker_app(admin_db.database_url())
    async with app.open_async():
        await worker_loop._make_rescue_job(app)(0)
