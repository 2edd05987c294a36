"""A real gunicorn of two workers and a real worker count together, and what they counted stays."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from tests.support import databases
from tests.support.factories import Factory
from tests.support.processes import (
    GUNICORN_COMMAND,
    WORKER_COMMAND,
    WebServer,
    free_port,
    run_gunicorn,
    run_program,
    wait_until,
)
from vca.kit import db
from vca.kit.db import Database
from vca.settings import Settings

TOKEN = "a-token-of-the-test-suite-and-no-other"


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, database_url: str) -> str:
    """A migrated database whose queue is nobody else's."""
    server: databases.DatabaseServer = request.getfixturevalue("database_server")
    return server.clone_template(f"{make_url(database_url).database}_metrics")


@pytest.fixture
def environment(url: str, settings: Settings, tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": databases.as_login(url, databases.WEB),
        "WORKER_DATABASE_URL": databases.as_login(url, databases.WORKER),
        "APP_ENV": "development",
        "APP_NAME": "VCA that counts",
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
        "API_KEY_PEPPERS": ",".join(settings.api_key_peppers),
        "TELEPHONY_PROVIDER": "fake",
        "METRICS_TOKEN": TOKEN,
        "METRICS_DIR": str(tmp_path / "metrics"),
        "LOG_LEVEL": "info",
    }


@pytest.fixture
def web(environment: dict[str, str], tmp_path: Path) -> Iterator[WebServer]:
    with run_gunicorn(environment, tmp_path / "web.log") as web:
        yield web


def _value(web: WebServer, name: str, **labels: str) -> float:
    answer = web.request("GET", "/metrics", extra_headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status == 200, answer.body
    values = [
        sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert values, f"{name} has no series with {labels}"
    return sum(values)


def _missed(web: WebServer) -> float:
    return _value(web, "vca_http_requests_total", status_class="4xx")


def _writers(folder: str) -> set[int]:
    """The processes that have counted requests."""
    stems = (file.stem.rpartition("_")[2] for file in Path(folder).glob("counter_*.db"))
    return {int(pid) for pid in stems if pid.isdigit()}


def _ask_until_both_have_counted(web: WebServer, folder: str) -> int:
    """How many requests were answered 404 until both workers had a share in them."""
    asked = 0

    def shared() -> bool:
        nonlocal asked
        assert web.get("/nothing-here").status == 404
        asked += 1
        return web.worker_pids() <= _writers(folder)

    wait_until(shared, within_s=60)
    return asked


def test_what_two_workers_count_adds_up_and_outlives_them(
    web: WebServer, environment: dict[str, str]
) -> None:
    folder = environment["METRICS_DIR"]
    asked = _ask_until_both_have_counted(web, folder)
    before = web.worker_pids()
    assert _missed(web) == asked

    for pid, how in zip(sorted(before), (signal.SIGKILL, signal.SIGTERM), strict=True):
        os.kill(pid, how)
        wait_until(
            lambda pid=pid: len(web.worker_pids()) == 2 and pid not in web.worker_pids(),
            within_s=60,
        )
        wait_until(lambda pid=pid: pid not in _writers(folder))

    assert not web.worker_pids() & before
    assert _missed(web) == asked
    web.get("/nothing-here")
    assert _missed(web) == asked + 1


def test_a_folder_that_somebody_cleans_away_does_not_end_the_service(
    web: WebServer, environment: dict[str, str]
) -> None:
    before = web.worker_pids()
    shutil.rmtree(environment["METRICS_DIR"])

    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(web.worker_pids()) == 2 and not web.worker_pids() & before, within_s=60)

    assert wait_until(web.is_healthy, within_s=60)
    assert web.program.is_alive


def test_the_workers_jobs_are_in_what_the_web_tells_and_outlive_it(
    web: WebServer,
    environment: dict[str, str],
    tmp_path: Path,
    app: object,
    url: str,
    world: Factory,
) -> None:
    direct = db.set_current_database(Database(databases.as_login(url, databases.WEB)))
    done = {"task": "phone_numbers.register", "outcome": "done"}
    tenant = world.tenant("Acme")
    tenant.number()
    assert _value(web, "vca_jobs_total", **done) == 0

    with run_program(WORKER_COMMAND, environment, tmp_path / "worker.log"):
        wait_until(lambda: _value(web, "vca_jobs_total", **done) == 1, within_s=60)
    with run_program(WORKER_COMMAND, environment, tmp_path / "again.log") as worker:
        tenant.number()
        wait_until(lambda: _value(web, "vca_jobs_total", **done) == 2, within_s=60)
        worker.kill()

    assert _value(web, "vca_jobs_total", **done) == 2
    direct.close()


def test_a_web_server_that_starts_again_counts_from_zero_and_leaves_the_workers_counts(
    environment: dict[str, str], tmp_path: Path, app: object, url: str, world: Factory
) -> None:
    direct = db.set_current_database(Database(databases.as_login(url, databases.WEB)))
    done = {"task": "phone_numbers.register", "outcome": "done"}
    world.tenant("Acme").number()
    with run_program(WORKER_COMMAND, environment, tmp_path / "worker.log"):
        with run_gunicorn(environment, tmp_path / "first.log") as web:
            assert web.get("/nothing-here").status == 404
            wait_until(lambda: _value(web, "vca_jobs_total", **done) == 1, within_s=60)
        with run_gunicorn(environment, tmp_path / "second.log") as web:
            assert _missed(web) == 0
            assert _value(web, "vca_jobs_total", **done) == 1
    direct.close()


def test_a_folder_that_cannot_be_written_to_ends_both_with_a_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings = {**environment, "METRICS_DIR": str(tmp_path / "file" / "metrics")}

    for command in (GUNICORN_COMMAND, WORKER_COMMAND):
        output = tmp_path / f"{Path(command[0]).name}.log"
        with run_program(command, {**settings, "PORT": str(free_port())}, output) as program:
            wait_until(lambda program=program: not program.is_alive, within_s=60)
            assert program.process.returncode != 0
        assert "METRICS_DIR cannot be written to" in output.read_text()
        assert "Traceback" not in output.read_text()


def test_without_a_token_nothing_is_written(environment: dict[str, str], tmp_path: Path) -> None:
    with run_gunicorn({**environment, "METRICS_TOKEN": ""}, tmp_path / "web.log") as web:
        assert web.get("/metrics").status == 404

    assert not Path(environment["METRICS_DIR"]).exists()
