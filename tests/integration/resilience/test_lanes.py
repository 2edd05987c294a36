"""A worker runs each lane on its own, so that slow jobs of one tenant delay nobody else's."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text

from tests.fakes.http_receiver import OK, HttpReceiver, http_receiver
from tests.support import admin_db, databases
from tests.support.factories import Factory, Tenant, fresh_number
from tests.support.jobs import run_due_jobs, task_runner
from tests.support.locks import open_transaction, waiting_pids
from tests.support.processes import WORKER_COMMAND, run_program, wait_until
from tests.support.services import app_services, use_services
from tests.support.tcp_proxy import TcpProxy
from tests.support.webhooks import allow_loopback, emit_event, register_webhook
from vca.jobs import lane_manager, lanes, queue, worker_loop
from vca.jobs.lanes import Lane
from vca.kit.db import Database
from vca.registry.caps import CAPS
from vca.servers import worker
from vca.services import Services
from vca.tenancy.session import tenant_session

TIMEOUT_S = 30.0
MAX_EXPORTS = CAPS["exports"].maximum
CAP = lanes.MAX_CAP
TASK = "planted.test"
LANES = (Lane("calls", 4), Lane("deliveries", 64), Lane("batch", 2))


def _count(condition: str) -> int:
    """Return the number of jobs that meet an SQL condition."""
    with admin_db.public_session() as session:
        query = f"SELECT count(*) FROM jobs.procrastinate_jobs WHERE {condition}"
        return session.scalar(text(query)) or 0


def _count_of(tenant: Tenant, condition: str) -> int:
    return _count(f"args->>'tenant_id' = '{tenant.id}' AND {condition}")


def _clear_queue() -> None:
    with admin_db.public_session() as session:
        session.execute(text("DELETE FROM jobs.procrastinate_jobs"))


def _make_rescue_due() -> None:
    """Make dead workers count as dead, and the rescue of their jobs due."""
    with admin_db.public_session() as session:
        session.execute(
            text("UPDATE jobs.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
        )
        session.execute(text("DELETE FROM jobs.procrastinate_periodic_defers"))


@pytest.fixture
def worker_settings(
    environment: dict[str, str], db_proxy: TcpProxy, direct_database: Database
) -> Iterator[dict[str, str]]:
    """Yield the settings of a worker; it and this process may send to this machine."""
    client = app_services().http_client
    allow_loopback()
    yield {
        **environment,
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "WEBHOOK_ALLOW_HTTP": "true",
    }
    use_services(http_client=client)


@pytest.fixture
def slow_receiver() -> Iterator[HttpReceiver]:
    """Run a receiver that answers nobody until the test ends."""
    with http_receiver() as receiver:

        def never_answer(connection: socket.socket, stop: Event) -> None:
            stop.wait(TIMEOUT_S)

        receiver.behaviour = never_answer
        yield receiver


def _order_call(tenant: Tenant, number: dict[str, str]) -> str:
    body = {"to": fresh_number(), "from_phone_number_id": number["id"]}
    response = tenant.post("/calls", body)
    assert response.status_code == 202, response.text
    return str(response.json["id"])


def _order_export(tenant: Tenant) -> None:
    response = tenant.post("/privacy/export", {"number": fresh_number()})
    assert response.status_code == 202, response.text


def _is_dialled(tenant: Tenant, call_id: str) -> bool:
    return bool(tenant.get(f"/calls/{call_id}").json["status"] != "queued")


def test_slow_webhooks_and_exports_of_one_tenant_do_not_delay_another_tenants_jobs(
    worker_settings: dict[str, str],
    slow_receiver: HttpReceiver,
    acme: Tenant,
    globex: Tenant,
    tmp_path: Path,
) -> None:
    acme.number()
    number = globex.number(ai_profile_id=globex.profile()["id"])
    _clear_queue()
    for _ in range(20):
        register_webhook(acme, slow_receiver)
    emit_event(acme)
    for _ in range(MAX_EXPORTS):
        _order_export(acme)

    with (
        http_receiver() as receiver,
        run_program(WORKER_COMMAND, worker_settings, tmp_path / "log") as program,
    ):
        receiver.behaviour = OK
        wait_until(lambda: len(slow_receiver.requests) == CAP)
        register_webhook(globex, receiver)
        emit_event(globex)
        call_id = _order_call(globex, number)
        wait_until(lambda: _is_dialled(globex, call_id))
        wait_until(lambda: receiver.requests)

        assert _count("queue_name = 'default'") == 0
        # Nothing of the other tenant has ended meanwhile, and none of its jobs has run in addition.
        assert len(slow_receiver.requests) == CAP
        assert _count_of(acme, "status = 'doing' AND queue_name = 'deliveries'") == CAP
        program.kill()  # it would wait for its jobs


def test_a_lane_full_of_slow_jobs_has_few_connections(
    worker_settings: dict[str, str], slow_receiver: HttpReceiver, world: Factory, tmp_path: Path
) -> None:
    tenants = [world.tenant(f"Slow {number}") for number in range(8)]
    _clear_queue()
    for tenant in tenants:
        for _ in range(CAP):
            register_webhook(tenant, slow_receiver)
        emit_event(tenant)

    with run_program(WORKER_COMMAND, worker_settings, tmp_path / "log") as program:
        wait_until(lambda: len(slow_receiver.requests) == 64, within_s=TIMEOUT_S)
        query = text("SELECT count(*) FROM pg_stat_activity WHERE usename = :login")
        with admin_db.public_session() as session:
            connections = session.scalar(query, {"login": databases.WORKER})

        [started] = [line for line in program.lines() if line["event"] == "worker.started"]
        assert connections <= started["database_connections"] == 22
        assert started["lanes"] == {"calls": 4, "deliveries": 64, "batch": 2}
        program.kill()  # it would wait for its jobs


def test_the_jobs_of_a_killed_worker_free_their_slots(
    worker_settings: dict[str, str], acme: Tenant, tmp_path: Path
) -> None:
    _clear_queue()
    first, second = acme.number(), acme.number()
    worker_settings["WORKER_LANES"] = "deliveries:2"  # one job of each tenant
    table = f'"{acme.ref.schema}".phone_numbers'
    lock_row = f"SELECT 1 FROM {table} WHERE id = '{first['id']}' FOR UPDATE"
    with (
        run_program(WORKER_COMMAND, worker_settings, tmp_path / "first") as program,
        open_transaction(admin_db.database_url(), lock_row) as other,
    ):
        wait_until(lambda: waiting_pids(other))
        program.kill()

    assert _count_of(acme, "status = 'doing'") == 1
    assert _count_of(acme, "status = 'todo' AND task_name = 'phone_numbers.register'") == 1

    _make_rescue_due()
    with run_program(WORKER_COMMAND, worker_settings, tmp_path / "second") as program:
        wait_until(
            lambda: not _count_of(acme, "task_name = 'phone_numbers.register'"), within_s=TIMEOUT_S
        )
        assert "jobs.rescued" in program.events()
    for number in (first, second):
        registration = acme.get(f"/phone-numbers/{number['id']}").json["registration"]
        assert registration["status"] == "registered"


def test_a_worker_runs_only_the_lanes_of_its_option(
    worker_settings: dict[str, str], acme: Tenant, tmp_path: Path
) -> None:
    _clear_queue()
    acme.number()
    _order_export(acme)
    waits = "status = 'todo' AND scheduled_at IS NULL AND queue_name ="
    command = [*WORKER_COMMAND, "--once", "--lanes"]

    with run_program([*command, "batch,calls"], worker_settings, tmp_path / "log") as program:
        assert program.process.wait(timeout=60) == 0
        [started] = [line for line in program.lines() if line["event"] == "worker.started"]

    assert started["lanes"] == {"calls": 4, "batch": 2}
    assert _count_of(acme, f"{waits} 'batch'") == 0
    assert _count_of(acme, f"{waits} 'deliveries'") > 0

    with run_program([*command, "deliveries"], worker_settings, tmp_path / "log") as program:
        assert program.process.wait(timeout=60) == 0
    assert _count_of(acme, f"{waits} 'deliveries'") == 0


def test_an_unknown_lane_and_the_former_option_are_reported(
    worker_settings: dict[str, str], tmp_path: Path
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        output = tmp_path / "-".join(arguments)
        with run_program([*WORKER_COMMAND, *arguments], worker_settings, output) as program:
            return program.process.wait(timeout=60), output.read_text()

    status, output = run("--lanes", "calls,mail,x")
    assert status == 2
    assert "'mail', 'x': the lanes are calls, deliveries, batch." in output

    status, output = run("--once", "--concurrency", "9")
    assert status == 0
    assert "worker.concurrency_ignored" in output


def test_sigterm_lets_the_jobs_of_every_lane_finish(
    worker_settings: dict[str, str], acme: Tenant, globex: Tenant, tmp_path: Path
) -> None:
    released = Event()
    with http_receiver() as receiver:

        def answer_when_released(connection: socket.socket, stop: Event) -> None:
            assert released.wait(TIMEOUT_S)
            OK(connection, stop)

        receiver.behaviour = answer_when_released
        _clear_queue()
        register_webhook(acme, receiver)
        emit_event(acme)
        with run_program(WORKER_COMMAND, worker_settings, tmp_path / "log") as program:
            wait_until(lambda: receiver.requests)
            program.process.send_signal(signal.SIGTERM)
            # The other lanes have stopped: a new job stays.
            wait_until(lambda: _worker_count() == 1)
            _order_export(globex)
            released.set()
            assert program.process.wait(timeout=TIMEOUT_S) == 0
    assert _count_of(acme, "status = 'doing'") == 0
    assert _count_of(globex, "task_name = 'privacy.export' AND status = 'todo'") == 1
    assert _worker_count() == 0


def _worker_count() -> int:
    """Return the number of lanes that are running in any worker."""
    query = (
        "SELECT count(*) FROM jobs.procrastinate_workers"
        " WHERE last_heartbeat > now() - interval '20 seconds'"
    )
    with admin_db.public_session() as session:
        return session.scalar(text(query)) or 0


@pytest.fixture
def plant_task(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that registers a task for this test, in a lane."""

    def plant(function: Callable[..., None], *, lane: str, name: str = TASK) -> None:
        monkeypatch.setitem(queue.TASKS, name, function)
        monkeypatch.setitem(queue.LANES_OF_TASKS, name, lane)

    return plant


def _enqueue(tenant: Tenant, count: int, *, name: str = TASK) -> None:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        for _ in range(count):
            queue.enqueue(session, name)


def test_a_lane_runs_as_many_jobs_at_the_same_time_as_it_has_slots(
    direct_database: Database, plant_task: Callable[..., None], acme: Tenant, globex: Tenant
) -> None:
    _clear_queue()
    barrier = threading.Barrier(2 * CAP)
    plant_task(lambda tenant_id: barrier.wait(TIMEOUT_S) and None, lane="deliveries")
    for tenant in (acme, globex):
        _enqueue(tenant, 2 * CAP)

    run_due_jobs(LANES)

    assert _count(f"task_name = '{TASK}'") == 0
    assert not barrier.broken


def test_a_single_run_drains_every_lane_beyond_the_cap_and_jobs_of_jobs(
    direct_database: Database, plant_task: Callable[..., None], acme: Tenant
) -> None:
    _clear_queue()
    done: list[str] = []

    def run_batch(tenant_id: str) -> None:
        done.append("batch")
        _enqueue(acme, 1, name="planted.next")

    plant_task(run_batch, lane="batch")
    plant_task(lambda tenant_id: done.append("calls"), lane="calls", name="planted.next")
    _enqueue(acme, 5)

    run_due_jobs(LANES)

    assert sorted(done) == ["batch"] * 5 + ["calls"] * 5
    assert _count_of(acme, "status IN ('todo', 'doing') AND task_name LIKE 'planted%'") == 0


def test_each_lane_has_connections_and_threads_of_its_own(
    direct_database: Database, plant_task: Callable[..., None], acme: Tenant
) -> None:
    _clear_queue()
    usage: dict[str, tuple[Database, str]] = {}
    for lane in LANES:

        def note(*, tenant_id: str, services: Services, name: str = lane.name) -> None:
            usage[name] = services.database, threading.current_thread().name

        plant_task(note, lane=lane.name, name=f"planted.{lane.name}")
        _enqueue(acme, 1, name=f"planted.{lane.name}")

    worker_loop.run_worker(
        admin_db.database_url(),
        run_task=cache(partial(worker.task_runner, services=app_services())),
        worker_lanes=LANES,
        wait=False,
    )

    for lane in LANES:
        database, thread = usage[lane.name]
        assert thread.startswith(lane.name)
        database.close()
    databases_of_lanes = {id(database) for database, _ in usage.values()}
    assert len(databases_of_lanes - {id(direct_database)}) == len(LANES)


def test_a_job_of_an_earlier_release_runs_in_the_lane_of_its_task(
    direct_database: Database, plant_task: Callable[..., None], acme: Tenant
) -> None:
    _clear_queue()
    threads: list[str] = []
    plant_task(lambda tenant_id: threads.append(threading.current_thread().name), lane="calls")
    enqueue = text("SELECT jobs.enqueue('default', :task, '{}'::jsonb, NULL, NULL)")

    for names in (["calls", "batch"], ["batch"]):
        with tenant_session(acme.ref, database=app_services().database) as session:
            session.execute(enqueue, {"task": TASK})
        worker_lanes = [lane for lane in LANES if lane.name in names]
        run_due_jobs(worker_lanes)

    assert [name.partition("_")[0] for name in threads] == ["calls", "batch"]


def test_every_job_of_a_long_earlier_queue_runs_in_the_lane_of_its_task(
    direct_database: Database,
    plant_task: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    acme: Tenant,
) -> None:
    _clear_queue()
    monkeypatch.setattr(lane_manager, "_ADOPTED_AT_ONCE", 2)
    threads: list[str] = []
    plant_task(lambda tenant_id: threads.append(threading.current_thread().name), lane="calls")
    with tenant_session(acme.ref, database=app_services().database) as session:
        enqueue = (
            "SELECT jobs.enqueue('default', :task, '{}', NULL, NULL) FROM generate_series(1, 9)"
        )
        session.execute(text(enqueue), {"task": TASK})

    run_due_jobs(LANES)

    assert [name.partition("_")[0] for name in threads] == ["calls"] * 9


def test_an_error_in_one_lane_ends_the_worker_with_that_error(
    direct_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_app = worker_loop.create_worker_app

    def fail_for_calls(dsn: str, lane: Lane, **options: object) -> object:
        if lane.name == "calls":
            raise RuntimeError("a fault in the code")
        return create_app(dsn, lane, **options)  # type: ignore[arg-type] # passed on unchanged

    monkeypatch.setattr(worker_loop, "create_worker_app", fail_for_calls)

    with pytest.raises(RuntimeError, match="a fault in the code"):
        worker_loop.run_worker(admin_db.database_url(), run_task=task_runner, worker_lanes=LANES)
