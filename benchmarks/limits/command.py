"""`python -m benchmarks limits`: what rate limits cost, and what they spare the neighbours."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import click

from benchmarks import cost, load, postgres, requests, rounds, web, world
from benchmarks.cpu import NotHere
from benchmarks.limits import pace, report
from benchmarks.limits.pace import Paced
from benchmarks.limits.report import Measured
from benchmarks.load import Order, Outcome
from benchmarks.postgres import Busy, Postgres
from benchmarks.progress import say
from benchmarks.report import Round, facts
from benchmarks.web import DidNotStart, Web
from benchmarks.world import Tenant
from vca.kit.config import read_settings

TIMES = 10
# The tenant whose waiting is measured, and the one that asks too much.
_QUIET, _NOISY = 0, 1
# What may be asked at once is asked by then: from there on a tenant is above its limit.
_BURST_S = 2.0


@click.command("limits")
@click.option("--rounds", "count", default=7, show_default=True, type=click.IntRange(1))
@click.option(
    "--seconds", default=6.0, show_default=True, type=click.FloatRange(0.5), help="A round."
)
@click.option(
    "--tenants", default=200, show_default=True, type=click.IntRange(2), help="In rotation."
)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1), help="Requests a second."
)
@click.option(
    "--pace", "per_second", default=16.0, show_default=True, type=float, help="The quiet tenant's."
)
@click.option("--keep/--no-keep", default=True, help="Write benchmarks/results.", show_default=True)
def command(
    count: int, seconds: float, tenants: int, limit: int, per_second: float, keep: bool
) -> None:
    """Measure what rate limits cost, and a tenant's waiting beside one that asks too much."""
    if per_second >= limit:
        raise click.UsageError("The quiet tenant's --pace must be below the --limit.")
    try:
        with ExitStack() as stack:
            bench = _prepare(stack, tenants, limit, seconds, per_second)
            measured = _measure(bench, count)
    except (Busy, NotHere, DidNotStart) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{report.table(measured)}\n")
    told = facts(
        Postgres=bench.postgres.version,
        run=f"{count} interleaved rounds of {seconds:g} s for each figure",
        tenants=f"{tenants} in rotation for the cost, each below its limit",
        limits=f"{limit} requests a second of each key and tenant",
        neighbours=f"{per_second:g} and {TIMES * limit} requests a second, each on "
        f"{load.CONNECTIONS} connections; its window is used up",
        gunicorn="gunicorn.conf.py, two workers (gthread)",
    )
    if keep:
        click.echo(f"Written: {report.write(measured, told)}")
    if measured.errors:
        raise click.ClickException(f"{measured.errors} requests failed that should not have")


@dataclass(frozen=True)
class Bench:
    """A run: the servers, the tenants, and the load. The hasty one refuses at once."""

    postgres: Postgres
    limited: Web
    unlimited: Web
    hasty: Web
    tenants: list[Tenant]
    limit: int
    seconds: float
    per_second: float
    generate: Callable[[Order], Outcome]

    def load(self, served: Web, tenants: list[Tenant]) -> Round:
        """As many requests as are answered, these tenants in rotation."""
        order = Order(served.port, self.seconds, 0, requests.lists(tenants, "vca"))
        found = rounds.run(served, self.postgres, self.generate, order)
        say(f"{found.cpu_ms:6.2f} ms CPU, {found.requests_per_s:.0f} requests/s")
        return found

    def quiet(self, served: Web) -> Outcome:
        """The quiet tenant's requests, twice as long: a percentile needs many."""
        return pace.run(self._paced(served, _QUIET, self.per_second, 2 * self.seconds))

    def noisy(self, served: Web) -> Paced:
        """Another's, far too many."""
        return self._paced(served, _NOISY, TIMES * self.limit, 1.0)

    def _paced(self, served: Web, tenant: int, per_second: float, seconds: float) -> Paced:
        asked = requests.lists([self.tenants[tenant]], "vca")
        return Paced(served.port, seconds, per_second, load.CONNECTIONS, asked)


def _prepare(
    stack: ExitStack, tenants: int, limit: int, seconds: float, per_second: float
) -> Bench:
    say("starting Postgres")
    server = stack.enter_context(postgres.served())
    without = {**cost.ENVIRON, **server.environ()}
    limits = {"RATE_LIMIT_KEY": str(limit), "RATE_LIMIT_TENANT": str(limit)}
    say(f"making {tenants} tenants")
    made = world.populate(read_settings(without), server, tenants)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    generate = stack.enter_context(load.generator())
    say("starting gunicorn, three times")
    limited = stack.enter_context(web.served("wsgi:app", {**without, **limits}, folder))
    unlimited = stack.enter_context(web.served("wsgi:app", without, folder))
    at_once = {**without, **limits, "RATE_LIMIT_THREADS": "0"}
    hasty = stack.enter_context(web.served("wsgi:app", at_once, folder))
    return Bench(server, limited, unlimited, hasty, made, limit, seconds, per_second, generate)


def _measure(bench: Bench, count: int) -> Measured:
    measured = Measured()
    for served in (bench.limited, bench.unlimited):
        say("warming up")
        bench.load(served, bench.tenants)
    for number in range(count):
        for step in (_cost, _neighbours):
            step(bench, measured, backwards=bool(number % 2))
        told = ", ".join(f"{each[-1]:.2f}" for each in measured.ratios().values())
        say(f"round {number + 1}/{count}: {told}")
    return measured


def _cost(bench: Bench, measured: Measured, *, backwards: bool) -> None:
    both = [(bench.unlimited, measured.cpu_without), (bench.limited, measured.cpu_with)]
    for served, kept in both[::-1] if backwards else both:
        found = bench.load(served, bench.tenants)
        kept.append(found.cpu_ms)
        measured.errors += found.errors
    measured.cpu_refused.append(bench.load(bench.hasty, [bench.tenants[_NOISY]]).cpu_ms)


def _neighbours(bench: Bench, measured: Measured, *, backwards: bool) -> None:
    three = [
        (bench.limited, False, measured.alone),
        (bench.limited, True, measured.beside),
        (bench.unlimited, True, measured.unlimited),
    ]
    for served, noisy, kept in three[::-1] if backwards else three:
        world.note_use(bench.postgres)
        with pace.paced(bench.noisy(served)) if noisy else nullcontext():
            sleep(_BURST_S)
            outcome = bench.quiet(served)
        kept.append(outcome.percentile_ms(0.95))
        measured.errors += outcome.errors
