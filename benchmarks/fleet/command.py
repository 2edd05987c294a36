"""`python -m benchmarks fleet`: fill a server with tenants and measure at several sizes."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import click

from benchmarks import postgres, web
from benchmarks import report as machine
from benchmarks.cpu import ProcessNotLocal
from benchmarks.fleet import (
    archive,
    create,
    idle_migration,
    memory,
    migrate,
    report,
    request_throughput,
    tenant_population,
    tenant_session_overhead,
)
from benchmarks.fleet.report import FleetFigure
from benchmarks.fleet.tenant_population import TenantPopulation
from benchmarks.postgres import BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.request_cost import ENVIRON
from benchmarks.web import ServerNotStarted, WebServer
from vca.kit.db import Database
from vca.tenancy.session import public_session

_SMALL_SIZE, _MEDIUM_SIZE = 10, 1_000
# The share of the remaining time that creating tenants may take.
_GROWTH_TIME_SHARE = 0.55
_SMALL_DATABASE = ("vca_bench_small", "vca_bench_small_web", "vca_bench_small_worker")


@dataclass
class FleetRun:
    """The results so far, and when the run has to end."""

    population: TenantPopulation
    small_population: TenantPopulation
    ends_at: float
    figures: list[FleetFigure] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def postgres(self) -> BenchmarkDatabase:
        """The database with the tenants."""
        return self.population.postgres

    def measure_figure(
        self, label: str, measure_function: Callable[[], FleetFigure | list[FleetFigure] | None]
    ) -> None:
        """Measure, unless the time is over."""
        if monotonic() > self.ends_at:
            self.skipped.append(label)
            print_progress(f"out of time: {label}")
            return
        print_progress(f"measuring: {label}, {self.population.count()} tenants")
        measured = measure_function()
        if measured is None:
            self.skipped.append(label)
            return
        for figure in measured if isinstance(measured, list) else [measured]:
            self.figures.append(figure)
            print_progress(
                f"  {figure.name}: {figure.value:.2f} {figure.unit} ({figure.format_target()})"
            )


@click.command("fleet", short_help="Measure the cost of thousands of tenants.")
@click.option(
    "--tenants",
    default=10_000,
    show_default=True,
    type=click.IntRange(100, 100_000),
    help="Number of tenants.",
)
@click.option(
    "--minutes",
    default=40.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Skip the remaining measurements after this time.",
)
@click.option(
    "--note", default="", help="Remark for the results, for example other load on the machine."
)
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(tenants: int, minutes: float, note: str, keep: bool) -> None:
    """Measure the cost of thousands of tenants: creation, migration, requests and memory."""
    began_at = monotonic()
    try:
        with ExitStack() as stack:
            run = _prepare(stack, began_at + minutes * 60)
            _measure(stack, run, tenants)
    except (BenchmarkRunning, ProcessNotLocal, ServerNotStarted) as error:
        raise click.ClickException(str(error)) from error
    facts = machine.run_facts(
        Postgres=f"{run.postgres.version}, shared_buffers {run.postgres.shared_buffers}",
        tenants=f"{len(run.population.members)}, {tenant_population.NUMBERS} numbers each",
        took=f"{(monotonic() - began_at) / 60:.0f} minutes",
        **({"not measured": ", ".join(run.skipped)} if run.skipped else {}),
        **({"note": note} if note else {}),
    )
    click.echo(f"\n{report.format_table(run.figures)}\n")
    if keep:
        click.echo(f"Written: {report.write_results(run.figures, facts)}")


def _prepare(stack: ExitStack, ends_at: float) -> FleetRun:
    print_progress("starting Postgres")
    database = stack.enter_context(postgres.serve_database())
    small_database = postgres.create_database(database.dsn, *_SMALL_DATABASE)
    stack.callback(postgres.drop_unless_embedded, database.dsn, _SMALL_DATABASE[0])
    small_population = TenantPopulation(small_database)
    small_population.grow_to(_SMALL_SIZE, ends_at, print_progress)
    return FleetRun(TenantPopulation(database), small_population, ends_at)


def _measure(stack: ExitStack, run: FleetRun, tenants: int) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = stack.enter_context(web.serve_app("wsgi:app", _environ(run.postgres), folder))
    key = _create_platform_key(run.postgres)
    for size in sorted({0, min(_MEDIUM_SIZE, tenants), tenants}):
        _measure_at(run, size, server, key)
    run.measure_figure("an idle migration", lambda: _measure_idle_migration(run))
    run.measure_figure(
        "opening a tenant session",
        lambda: tenant_session_overhead.measure_tenant_session(
            run.postgres, run.population.members[0], _tenant_count(run)
        ),
    )
    run.measure_figure("export and import", lambda: _measure_archive(run))
    environs = (_environ, _environ_without_roles)
    run.measure_figure(
        "requests",
        lambda: request_throughput.measure_requests(
            run.population, run.small_population, environs, run.ends_at, print_progress
        ),
    )
    run.measure_figure(
        "memory", lambda: memory.measure_memory(run.postgres, run.population.members, run.ends_at)
    )


def _measure_at(run: FleetRun, size: int, server: WebServer, key: str) -> None:
    now = monotonic()
    run.population.grow_to(size, now + (run.ends_at - now) * _GROWTH_TIME_SHARE, print_progress)
    run.measure_figure(
        "creation", lambda: create.measure_creation(run.postgres, server, key, _tenant_count(run))
    )
    if size:
        run.measure_figure(
            "migration", lambda: migrate.measure_migration(run.postgres, _tenant_count(run))
        )


def _measure_idle_migration(run: FleetRun) -> FleetFigure:
    return idle_migration.measure_idle_migration(_environ(run.postgres), _tenant_count(run))


def _measure_archive(run: FleetRun) -> list[FleetFigure]:
    return archive.measure_archive(run.postgres, _environ(run.postgres), _tenant_count(run))


def _tenant_count(run: FleetRun) -> int:
    return run.population.count()


def _create_platform_key(postgres_database: BenchmarkDatabase) -> str:
    database = Database(postgres_database.dsn, pool_size=1)
    with public_session(database=database) as session:
        key = tenant_population.create_key(session, None)
    database.close()
    return key


def _environ(database: BenchmarkDatabase) -> dict[str, str]:
    return {**ENVIRON, **database.environ()}


def _environ_without_roles(database: BenchmarkDatabase) -> dict[str, str]:
    """Return settings without tenant roles.

    The web logs in as the owner, who may enter every schema without a role; the logins' grants do
    not need to change.
    """
    return {**_environ(database), "DATABASE_URL": database.dsn, "TENANT_ROLES": "off"}
