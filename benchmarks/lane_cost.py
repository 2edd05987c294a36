"""`python -m benchmarks lanes`: how long it takes to take a job from a lane with a long queue.

Each take is one statement with a commit, as the worker sends it, and its duration includes the
round trip. The job is finished before the next take, outside the measurement. Statistics of the
table are those of an empty queue, as after a quiet night.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import psycopg2
import psycopg2.extensions

from benchmarks import postgres
from benchmarks.postgres import BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.report import RESULTS_FOLDER, run_facts

QUEUE_LENGTH, TAKES = 100_000, 1_000
TARGET_MS = 5.0
CAP = 8
_LANE = "deliveries"
_INTRODUCTION = """\
The time of one `jobs.take` with its commit, including the round trip, in a lane with 100,000 jobs.
The job is finished between two takes. The goal applies to the 99th percentile.
"""
_TENANT = "('00000000-0000-4000-8000-' || lpad(({number})::text, 12, '0'))"
_INSERT = f"""
INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, args, scheduled_at)
SELECT '{_LANE}', 'webhooks.deliver', jsonb_build_object(
    'tenant_id', {_TENANT}, 'webhook_id', gen_random_uuid()), {{scheduled_at}}
FROM generate_series(1, {{count}}) AS n
"""
_TAKE = "SELECT id, args->>'tenant_id' FROM jobs.take(%s, %s, %s)"
_FINISH = "SELECT jobs.procrastinate_finish_job_v1(%s, 'succeeded', true)"


@dataclass(frozen=True)
class Scenario:
    """A queue to measure; the SQL expressions give the tenant's number and the time of job `n`.

    `full` says whether the first tenant has as many running jobs as it may have.
    """

    title: str
    tenant: str
    scheduled_at: str = "NULL"
    full: bool = False


@dataclass(frozen=True)
class LaneResult:
    """The durations of the takes in one scenario."""

    title: str
    median_ms: float
    p99_ms: float
    maximum_ms: float

    @property
    def is_met(self) -> bool:
        """Whether the 99th percentile meets the goal."""
        return self.p99_ms <= TARGET_MS


SCENARIOS = (
    Scenario("all of one tenant", "1"),
    Scenario("all of one tenant, which has no turn, and some of another", "1", full=True),
    Scenario("of 1,000 tenants", "n % 1000"),
    Scenario(
        "of 10,000 tenants, due later", "n % 10000", "now() + make_interval(secs => 3600 + n)"
    ),
    Scenario("of one tenant, all due since a moment", "1", "now() - interval '1 second'"),
)


@click.command("lanes", short_help="Measure how long taking a job takes.")
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(keep: bool) -> None:
    """Measure takes from lanes with 100,000 jobs."""
    try:
        with postgres.serve_database() as database:
            results = [_measure(database, scenario) for scenario in SCENARIOS]
            facts = run_facts(
                Postgres=database.version, shared_buffers=database.shared_buffers, takes=TAKES
            )
    except BenchmarkRunning as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{format_table(results)}\n")
    if keep:
        click.echo(f"Written: {_write_results(results, facts)}")
    if not all(result.is_met for result in results):
        raise click.ClickException("a target was missed")


def _measure(database: BenchmarkDatabase, scenario: Scenario) -> LaneResult:
    print_progress(f"measuring {TAKES} takes of {QUEUE_LENGTH:,} jobs {scenario.title}")
    with closing(psycopg2.connect(database.dsn)) as connection:
        connection.autocommit = True
        worker = _fill(connection, scenario)
        durations_ms = sorted(_take_and_finish(connection, worker))
    return LaneResult(
        scenario.title,
        durations_ms[len(durations_ms) // 2],
        durations_ms[len(durations_ms) * 99 // 100],
        durations_ms[-1],
    )


def _fill(connection: psycopg2.extensions.connection, scenario: Scenario) -> int:
    """Fill the empty queue, and return the id of the worker that takes its jobs."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE jobs.procrastinate_jobs, jobs.procrastinate_events CASCADE")
        cursor.execute("ANALYZE jobs.procrastinate_jobs")
        insert = _INSERT.format(
            number=scenario.tenant, scheduled_at=scenario.scheduled_at, count=QUEUE_LENGTH
        )
        cursor.execute(insert)
        cursor.execute("SELECT worker_id FROM jobs.procrastinate_register_worker_v1()")
        [(worker,)] = cursor.fetchall()
        if scenario.full:
            for _ in range(CAP):
                cursor.execute(_TAKE, (_LANE, worker, CAP))
        if scenario.full or scenario.scheduled_at != "NULL":
            cursor.execute(_INSERT.format(number="2", scheduled_at="NULL", count=TAKES))
        return int(worker)


def _take_and_finish(connection: psycopg2.extensions.connection, worker: int) -> Iterator[float]:
    """Take and finish jobs; yield the milliseconds of each take."""
    with connection.cursor() as cursor:
        for _ in range(TAKES):
            started_s = perf_counter()
            cursor.execute(_TAKE, (_LANE, worker, CAP))
            [(job_id, _tenant)] = cursor.fetchall()
            yield (perf_counter() - started_s) * 1_000
            cursor.execute(_FINISH, (job_id,))


def format_table(results: list[LaneResult]) -> str:
    """Return a table with one line for each scenario."""
    rows = [
        f"| {result.title} | {result.median_ms:.2f} ms | **{result.p99_ms:.2f} ms**"
        f" | {result.maximum_ms:.2f} ms | ≤ {TARGET_MS:g} ms |"
        for result in results
    ]
    head = "| 100,000 jobs | median | p99 | maximum | goal |\n|---|---:|---:|---:|---:|"
    return "\n".join([head, *rows])


def _write_results(results: list[LaneResult], facts: dict[str, Any]) -> Path:
    summary = {"facts": facts, "results": [asdict(result) for result in results]}
    (RESULTS_FOLDER / "lanes.json").write_text(json.dumps(summary, indent=2) + "\n")
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = RESULTS_FOLDER / "lanes.md"
    path.write_text(
        f"# Taking jobs from lanes\n\n{_INTRODUCTION}\n{format_table(results)}\n\n{lines}\n"
    )
    return path
