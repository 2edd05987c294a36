"""Metrics of a real gunicorn with two workers and of a real worker: sums, restarts and failures."""

import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from tests.support import databases
from tests.support.factories import Factory
from tests.support.processes import (
    GUNICORN_COMMAND,
    WORKER_COMMAND,
    Program,
    WebServer,
    free_port,
    process_environment,
    run_gunicorn,
    run_program,
    wait_until,
)
from tests.support.services import open_database, use_database
from vca.settings import Settings

TOKEN = "a-token-of-the-test-suite-and-no-other"


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, database_url: str) -> str:
    """Return the URL of a migrated database whose queue no other test uses."""
    server: databases.DatabaseServer = request.getfixturevalue("database_server")
    return server.clone_template(f"{make_url(database_url).database}_metrics")


@pytest.fixture
def environment(url: str, settings: Settings, tmp_path: Path) -> dict[str, str]:
    return process_environment(
        settings,
        DATABASE_URL=databases.as_login(url, databases.WEB),
        WORKER_DATABASE_URL=databases.as_login(url, databases.WORKER),
        APP_NAME="VCA that counts",
        METRICS_TOKEN=TOKEN,
        METRICS_DIR=str(tmp_path / "metrics"),
    )


@pytest.fixture
def web(environment: dict[str, str], tmp_path: Path) -> Iterator[WebServer]:
    with run_gunicorn(environment, tmp_path / "web.log") as web:
        yield web


def _metric_value(web: WebServer, name: str, **labels: str) -> float:
    response = web.request("GET", "/metrics", extra_headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status == 200, response.body
    values = [
        sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert values, f"{name} has no series with {labels}"
    return sum(values)


def _not_found_count(web: WebServer) -> float:
    return _metric_value(web, "vca_http_requests_total", status_class="4xx")


def _counting_pids(folder: str) -> set[int]:
    """Return the pids of the processes that have counted requests."""
    stems = (file.stem.rpartition("_")[2] for file in Path(folder).glob("counter_*.db"))
    return {int(pid) for pid in stems if pid.isdigit()}


def _send_until_both_workers_counted(web: WebServer, folder: str) -> int:
    """Send requests until both workers have counted one; return the number of requests."""
    request_count = 0

    def both_have_counted() -> bool:
        nonlocal request_count
        assert web.get("/nothing-here").status == 404
        request_count += 1
        return web.worker_pids() <= _counting_pids(folder)

    wait_until(both_have_counted, within_s=60)
    return request_count


def _is_replaced(web: WebServer, pid: int) -> bool:
    """Check whether there are two workers without this process."""
    return len(web.worker_pids()) == 2 and pid not in web.worker_pids()


def _is_not_counting(folder: str, pid: int) -> bool:
    """Check whether the files of this process are merged."""
    return pid not in _counting_pids(folder)


def _has_ended(program: Program) -> bool:
    return not program.is_alive


def test_counts_of_two_workers_are_added_and_survive_their_restart(
    web: WebServer, environment: dict[str, str]
) -> None:
    folder = environment["METRICS_DIR"]
    request_count = _send_until_both_workers_counted(web, folder)
    old_pids = web.worker_pids()
    assert _not_found_count(web) == request_count

    for pid, signal_number in zip(sorted(old_pids), (signal.SIGKILL, signal.SIGTERM), strict=True):
        os.kill(pid, signal_number)
        wait_until(partial(_is_replaced, web, pid), within_s=60)
        wait_until(partial(_is_not_counting, folder, pid))

    assert not web.worker_pids() & old_pids
    assert _not_found_count(web) == request_count
    web.get("/nothing-here")
    assert _not_found_count(web) == request_count + 1


def test_a_deleted_metrics_folder_does_not_stop_the_web_server(
    web: WebServer, environment: dict[str, str]
) -> None:
    old_pids = web.worker_pids()
    shutil.rmtree(environment["METRICS_DIR"])

    for pid in old_pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: len(web.worker_pids()) == 2 and not web.worker_pids() & old_pids, within_s=60
    )

    assert wait_until(web.is_healthy, within_s=60)
    assert web.program.is_alive


def test_the_web_server_reports_the_workers_jobs_after_the_worker_ended(
    web: WebServer,
    environment: dict[str, str],
    tmp_path: Path,
    app: object,
    url: str,
    world: Factory,
) -> None:
    database = use_database(open_database(databases.as_login(url, databases.WEB)))
    labels = {"task": "phone_numbers.register", "outcome": "done"}
    tenant = world.tenant("Acme")
    tenant.number()
    assert _metric_value(web, "vca_jobs_total", **labels) == 0

    with run_program(WORKER_COMMAND, environment, tmp_path / "worker.log"):
        wait_until(lambda: _metric_value(web, "vca_jobs_total", **labels) == 1, within_s=60)
    with run_program(WORKER_COMMAND, environment, tmp_path / "again.log") as worker:
        tenant.number()
        wait_until(lambda: _metric_value(web, "vca_jobs_total", **labels) == 2, within_s=60)
        worker.kill()

    assert _metric_value(web, "vca_jobs_total", **labels) == 2
    database.close()


def test_a_restarted_web_server_resets_its_own_counts_only(
    environment: dict[str, str], tmp_path: Path, app: object, url: str, world: Factory
) -> None:
    database = use_database(open_database(databases.as_login(url, databases.WEB)))
    labels = {"task": "phone_numbers.register", "outcome": "done"}
    world.tenant("Acme").number()
    with run_program(WORKER_COMMAND, environment, tmp_path / "worker.log"):
        with run_gunicorn(environment, tmp_path / "first.log") as web:
            assert web.get("/nothing-here").status == 404
            wait_until(lambda: _metric_value(web, "vca_jobs_total", **labels) == 1, within_s=60)
        with run_gunicorn(environment, tmp_path / "second.log") as web:
            assert _not_found_count(web) == 0
            assert _metric_value(web, "vca_jobs_total", **labels) == 1
    database.close()


def test_an_unwritable_metrics_folder_ends_both_programs_with_a_message(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings = {**environment, "METRICS_DIR": str(tmp_path / "file" / "metrics")}

    for command in (GUNICORN_COMMAND, WORKER_COMMAND):
        output = tmp_path / f"{Path(command[0]).name}.log"
        with run_program(command, {**settings, "PORT": str(free_port())}, output) as program:
            wait_until(partial(_has_ended, program), within_s=60)
            assert program.process.returncode != 0
        assert "METRICS_DIR cannot be written to" in output.read_text()
        assert "Traceback" not in output.read_text()


def test_without_a_token_no_metrics_are_written(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with run_gunicorn({**environment, "METRICS_TOKEN": ""}, tmp_path / "web.log") as web:
        assert web.get("/metrics").status == 404

    assert not Path(environment["METRICS_DIR"]).exists()
