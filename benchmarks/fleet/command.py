"""`python -m benchmarks fleet`: fill a server with tenants, and measure on the way."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import click

from benchmarks import postgres, web
from benchmarks import report as machine
from benchmarks.cost import ENVIRON
from benchmarks.cpu import NotHere
from benchmarks.fleet import archive, create, crowd, guard, idle, memory, migrate, report, visits
from benchmarks.fleet.crowd import Crowd
from benchmarks.fleet.report import Figure
from benchmarks.postgres import Busy, Postgres
from benchmarks.progress import say
from benchmarks.web import DidNotStart, Web
from vca.kit.db import Database
from vca.tenancy import roles
from vca.tenancy.session import public

_FEW, _SOME = 10, 1_000
# The share of the time that is left which making the tenants may take.
_TO_GROW = 0.55
_SMALL = ("vca_bench_small", "vca_bench_small_web", "vca_bench_small_worker")


@dataclass
class Run:
    """What was found so far, and until when there is time."""

    crowd: Crowd
    few: Crowd
    ends_at: float
    figures: list[Figure] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def postgres(self) -> Postgres:
        return self.crowd.postgres

    def take(self, what: str, measure: Callable[[], Figure | list[Figure] | None]) -> None:
        """Measure, unless the time is over."""
        if monotonic() > self.ends_at:
            self.skipped.append(what)
            say(f"out of time: {what}")
            return
        say(f"measuring: {what}, {self.crowd.count()} tenants")
        found = measure()
        if found is None:
            self.skipped.append(what)
            return
        for figure in found if isinstance(found, list) else [found]:
            self.figures.append(figure)
            say(f"  {figure.what}: {figure.value:.2f} {figure.unit} ({figure.wanted()})")


@click.command("fleet")
@click.option(
    "--tenants",
    default=10_000,
    show_default=True,
    type=click.IntRange(100, 100_000),
    help="In all.",
)
@click.option(
    "--minutes",
    default=40.0,
    show_default=True,
    type=click.FloatRange(1),
    help="After this many, what is left is not measured.",
)
@click.option("--note", default="", help="A remark for the results: what else the machine did.")
@click.option("--keep/--no-keep", default=True, help="Write benchmarks/results.", show_default=True)
def command(tenants: int, minutes: float, note: str, keep: bool) -> None:
    """Measure what thousands of tenants cost: to make, to migrate, to serve, and in memory."""
    began_at = monotonic()
    try:
        with ExitStack() as stack:
            run = _prepare(stack, began_at + minutes * 60)
            _measure(stack, run, tenants)
    except (Busy, NotHere, DidNotStart) as error:
        raise click.ClickException(str(error)) from error
    facts = machine.facts(
        Postgres=f"{run.postgres.version}, shared_buffers {run.postgres.shared_buffers}",
        tenants=f"{len(run.crowd.members)}, {crowd.NUMBERS} numbers each",
        took=f"{(monotonic() - began_at) / 60:.0f} minutes",
        **({"not measured": ", ".join(run.skipped)} if run.skipped else {}),
        **({"note": note} if note else {}),
    )
    click.echo(f"\n{report.table(run.figures)}\n")
    if keep:
        click.echo(f"Written: {report.write(run.figures, facts)}")


def _prepare(stack: ExitStack, ends_at: float) -> Run:
    say("starting Postgres")
    server = stack.enter_context(postgres.served())
    small = postgres.fresh(server.dsn, *_SMALL)
    stack.callback(postgres.drop_unless_embedded, server.dsn, _SMALL[0])
    few = Crowd(small)
    few.grow(_FEW, ends_at, say)
    return Run(Crowd(server), few, ends_at)


def _measure(stack: ExitStack, run: Run, tenants: int) -> None:
    roles.use(run.postgres.deployment.roles)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    served = stack.enter_context(web.served("wsgi:app", _environ(run.postgres), folder))
    key = _platform_key(run.postgres)
    for size in sorted({0, min(_SOME, tenants), tenants}):
        _measure_at(run, size, served, key)
    run.take("a migration of nothing", lambda: _idle(run))
    run.take("the guard", lambda: guard.measure(run.postgres, run.crowd.members[0], _count(run)))
    run.take("export and import", lambda: _archive(run))
    environs = (_environ, _environ_without_roles)
    run.take("requests", lambda: visits.measure(run.crowd, run.few, environs, run.ends_at, say))
    run.take("memory", lambda: memory.measure(run.postgres, run.crowd.members, run.ends_at))


def _measure_at(run: Run, size: int, served: Web, key: str) -> None:
    now = monotonic()
    run.crowd.grow(size, now + (run.ends_at - now) * _TO_GROW, say)
    run.take("creation", lambda: create.measure(run.postgres, served, key, _count(run)))
    if size:
        run.take("migration", lambda: migrate.measure(run.postgres, _count(run)))


def _idle(run: Run) -> Figure:
    return idle.measure(_environ(run.postgres), _count(run))


def _archive(run: Run) -> list[Figure]:
    return archive.measure(run.postgres, _environ(run.postgres), _count(run))


def _count(run: Run) -> int:
    return run.crowd.count()


def _platform_key(server: Postgres) -> str:
    database = Database(server.dsn, pool_size=1)
    with public(database=database) as session:
        key = crowd.key_for(session, None)
    database.close()
    return key


def _environ(server: Postgres) -> dict[str, str]:
    return {**ENVIRON, **server.environ()}


def _environ_without_roles(server: Postgres) -> dict[str, str]:
    """The owner may enter every schema without a role; the logins' grants need none of it."""
    return {**_environ(server), "DATABASE_URL": server.dsn, "TENANT_ROLES": "off"}
