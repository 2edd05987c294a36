"""`python -m benchmarks jobs`: the CPU of a job, of this checkout and of another revision.

Both run with the libraries of this checkout's environment. A round enqueues many jobs at once and
ends when the worker has finished all of them.
"""

import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import click
import psycopg2
from psycopg2.extras import execute_values

from benchmarks import builds, cpu, postgres, report, request_cost, requests, web, worker
from benchmarks.builds import NUMBERS, Build, BuildTenant, UnknownRevision
from benchmarks.cpu import ProcessNotLocal
from benchmarks.postgres import ROOT, BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.web import ServerNotStarted
from vca.jobs import lanes
from vca.telephony.providers.fake.adapter import FakeTelephonyAdapter

MAX_RATIO = 0.5
# Each task with its lane.
TASKS = {"calls.check": lanes.CALLS, "phone_numbers.register": lanes.DELIVERIES}
_WARM_UP_JOBS = 100
_POLL_S, _DRAIN_TIMEOUT_S, _REQUEST_TIMEOUT_S = 0.05, 120, 30
_INSERT = "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, args) VALUES %s"
_HAS_LANES = "SELECT to_regclass('jobs.lanes') IS NOT NULL"
_UNFINISHED = (
    "SELECT FROM jobs.procrastinate_jobs WHERE task_name = %s AND status IN ('todo', 'doing')"
    " LIMIT 1"
)
_FAILED = "SELECT FROM jobs.procrastinate_jobs WHERE task_name = %s AND attempts > 0 LIMIT 1"
_INTRODUCTION = """\
CPU per job: user and system time of `flask worker` and of the whole Postgres cluster while the
worker finishes {jobs} jobs that are enqueued at once, divided by the jobs. `calls.check` finds a
call that has ended; `phone_numbers.register` registers a number with the fake carrier. Ratio: this
code divided by the other revision, in adjacent rounds; the median of all rounds, with the minimum
and the maximum.
"""


class JobsNotFinished(RuntimeError):
    """The jobs of a round failed, or the worker did not finish them in time."""


@dataclass(frozen=True)
class JobRound:
    """One round of one build; milliseconds are per job."""

    worker_ms: float
    postgres_ms: float

    @property
    def cpu_ms(self) -> float:
        """CPU time of worker and database in milliseconds."""
        return self.worker_ms + self.postgres_ms


@dataclass(frozen=True)
class JobCost:
    """The rounds of this code with one task, and those of the other revision in the same order."""

    task: str
    rounds: list[JobRound] = field(default_factory=list)
    other_rounds: list[JobRound] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """The CPU per job of this code divided by the other revision's, round by round."""
        pairs = zip(self.rounds, self.other_rounds, strict=False)
        return [measured.cpu_ms / other.cpu_ms for measured, other in pairs]

    @property
    def is_met(self) -> bool:
        """Whether the ratio, if there is one, meets the goal."""
        return not self.ratios or median(self.ratios) <= MAX_RATIO


@dataclass(frozen=True)
class _BuildJobs:
    """A build with its database, and the arguments of the jobs of each task."""

    build: Build
    database: BenchmarkDatabase
    has_lanes: bool
    args: Mapping[str, Sequence[Mapping[str, object]]]


@click.command("jobs", short_help="Measure CPU per job.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1), help="Rounds.")
@click.option(
    "--jobs", default=600, show_default=True, type=click.IntRange(1), help="Jobs of each task."
)
@click.option("--against", metavar="REV", help="Compare with another revision.")
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(rounds: int, jobs: int, against: str | None, keep: bool) -> None:
    """Measure the CPU per job of the worker and Postgres, in rounds.

    With --against, compare this checkout with another revision, in alternate rounds.
    """
    try:
        commit = None if against is None else builds.commit_of(against)
        costs, version = _measure(commit, rounds, jobs)
    except (
        BenchmarkRunning,
        JobsNotFinished,
        ProcessNotLocal,
        ServerNotStarted,
        UnknownRevision,
    ) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{format_table(costs)}\n")
    if keep:
        facts = report.run_facts(
            Postgres=version,
            revision=commit or "none",
            run=f"{rounds} rounds of {jobs} jobs of each task, alternately, after a warm-up",
        )
        click.echo(f"Written: {_write_results(costs, facts, jobs)}")
    if not all(cost.is_met for cost in costs):
        raise click.ClickException("a target was missed")


def _measure(commit: str | None, rounds: int, jobs: int) -> tuple[list[JobCost], str]:
    costs = {task: JobCost(task) for task in TASKS}
    with ExitStack() as stack:
        database = stack.enter_context(postgres.serve_database())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sources = {"now": ROOT}
        if commit is not None:
            sources["other"] = stack.enter_context(builds.check_out(commit))
        prepared = [
            _prepare_build(name, source, database, folder) for name, source in sources.items()
        ]
        for number in range(rounds):
            for build in prepared if number % 2 == 0 else reversed(prepared):
                for task, measured in _measure_round(build, folder, jobs):
                    print_progress(
                        f"round {number + 1}/{rounds}: {task}, {build.build.name}:"
                        f" {measured.worker_ms:.2f} + {measured.postgres_ms:.2f} ms CPU"
                    )
                    is_other = build.build.name == "other"
                    (costs[task].other_rounds if is_other else costs[task].rounds).append(measured)
    return list(costs.values()), database.version


def _prepare_build(
    name: str, source: Path, database: BenchmarkDatabase, folder: Path
) -> _BuildJobs:
    """Create a database for the build, with tenants that have a number and a call that ended."""
    build = builds.create_build(name, source, database.dsn, dict(request_cost.ENVIRON))
    own_database = replace(database, dsn=build.environ["MIGRATION_DATABASE_URL"])
    with web.serve_app("wsgi:app", build.environ, folder, source=source) as server:
        print_progress(f"creating {len(NUMBERS)} tenants of {name}")
        tenants = builds.create_tenants(build, server.port)
        args = [
            _job_args(build, server.port, tenant, number)
            for tenant, number in zip(tenants, NUMBERS, strict=True)
        ]
    [(has_lanes,)] = own_database.execute(_HAS_LANES)
    return _BuildJobs(
        build, own_database, bool(has_lanes), {task: [row[task] for row in args] for task in TASKS}
    )


def _job_args(
    build: Build, port: int, tenant: BuildTenant, number: str
) -> dict[str, dict[str, object]]:
    """Let a call to the tenant's number end; return the arguments of a job of each task."""
    call_id = f"jobs-{number[1:]}"
    answer = _send_event(
        build, port, "voice", call_id=call_id, to=number, **{"from": requests.CALLER}
    )
    _send_event(build, port, "status", call_id=call_id, state=answer["state"], status="completed")
    [call] = _get(port, tenant, "calls")
    [phone_number] = _get(port, tenant, "phone-numbers")
    return {
        "calls.check": {"tenant_id": tenant.id, "call_id": call["id"]},
        "phone_numbers.register": {
            "tenant_id": tenant.id,
            "phone_number_id": phone_number["id"],
            "did_number": number,
            "provider_type": phone_number["provider_type"],
        },
    }


def _send_event(build: Build, port: int, action: str, **fields: str) -> Any:
    base_url = build.environ["PUBLIC_BASE_URL"]
    carrier = FakeTelephonyAdapter(f"fake-carrier|{build.environ['SECRET_KEY']}")
    signed = carrier.signed_request(action, f"{base_url}/telephony/fake/", **fields)
    path = urlsplit(signed.url).path
    return _fetch(port, path, requests.signed_headers(signed), signed.body)


def _get(port: int, tenant: BuildTenant, path: str) -> Any:
    headers = {"Authorization": f"Bearer {tenant.api_key}"}
    return _fetch(port, f"/api/tenants/{tenant.id}/{path}", headers)


def _fetch(port: int, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, dict(headers))
    with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S) as response:
        content = response.read()
    return json.loads(content) if content else None


def _measure_round(jobs_of: _BuildJobs, folder: Path, jobs: int) -> Iterator[tuple[str, JobRound]]:
    """Start a worker, let it warm up, and yield the cost of each task."""
    database = jobs_of.database
    environ = jobs_of.build.environ
    with worker.run_worker(database, environ, folder, source=jobs_of.build.source) as pid:
        for task in TASKS:
            with _enqueued(jobs_of, task, _WARM_UP_JOBS):
                pass
        for task in TASKS:
            worker_s = postgres_s = 0.0
            with _enqueued(jobs_of, task, jobs):
                worker_s, postgres_s = cpu.process_tree_s(pid), database.cpu_s()
            worker_s = cpu.process_tree_s(pid) - worker_s
            postgres_s = database.cpu_s() - postgres_s
            yield task, JobRound(worker_s * 1000 / jobs, postgres_s * 1000 / jobs)


@contextmanager
def _enqueued(jobs_of: _BuildJobs, task: str, count: int) -> Iterator[None]:
    """Insert jobs, commit them when the block ends, and wait until all of them are finished."""
    queue_name = TASKS[task] if jobs_of.has_lanes else lanes.EARLIER_QUEUE
    args = jobs_of.args[task]
    rows = [(queue_name, task, json.dumps(args[index % len(args)])) for index in range(count)]
    with closing(psycopg2.connect(jobs_of.database.dsn)) as connection:
        with connection, connection.cursor() as cursor:
            execute_values(cursor, _INSERT, rows, page_size=count)
            yield
        connection.autocommit = True
        _wait_until_finished(connection, task)


def _wait_until_finished(connection: Any, task: str) -> None:
    give_up_at = time.monotonic() + _DRAIN_TIMEOUT_S
    with connection.cursor() as cursor:
        while time.monotonic() < give_up_at:
            cursor.execute(_UNFINISHED, (task,))
            if not cursor.rowcount:
                break
            time.sleep(_POLL_S)
        cursor.execute(_FAILED, (task,))
        if cursor.rowcount or time.monotonic() > give_up_at:
            raise JobsNotFinished(f"jobs {task} failed or were not finished in time")


def format_table(costs: Sequence[JobCost]) -> str:
    """Return a table with one line for each task."""
    lines = [
        "| job | CPU ms: worker + Postgres | other code | ratio, median (min–max) | goal |",
        "|---|---:|---:|---:|---:|",
    ]
    for cost in costs:
        ratios = cost.ratios
        ratio = f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})" if ratios else "–"
        cells = (
            cost.task,
            _format_cpu(cost.rounds),
            _format_cpu(cost.other_rounds),
            ratio,
            f"≤ {MAX_RATIO}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_cpu(rounds: Sequence[JobRound]) -> str:
    if not rounds:
        return "–"
    worker_ms = median(measured.worker_ms for measured in rounds)
    return f"{worker_ms:.2f} + {median(measured.postgres_ms for measured in rounds):.2f}"


def _write_results(costs: Sequence[JobCost], facts: Mapping[str, Any], jobs: int) -> Path:
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = report.RESULTS_FOLDER / "jobs.md"
    path.write_text(
        f"# CPU per job\n\n{_INTRODUCTION.format(jobs=jobs)}\n{format_table(costs)}\n\n"
        f"{fact_lines}\n"
    )
    summary = {"facts": dict(facts), "tasks": {cost.task: cost.ratios for cost in costs}}
    path.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n")
    return path
