"""`python -m benchmarks limits`: the cost of rate limits, and how they protect other tenants."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import click

from benchmarks import load, postgres, request_cost, requests, round_runner, tenant_data, web
from benchmarks.cpu import ProcessNotLocal
from benchmarks.limits import pace, report
from benchmarks.limits.pace import PacedPlan
from benchmarks.limits.report import LimitsResult
from benchmarks.load import LoadPlan, LoadResult
from benchmarks.postgres import BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.report import RoundResult, run_facts
from benchmarks.tenant_data import BenchmarkTenant
from benchmarks.web import ServerNotStarted, WebServer
from vca.settings import read_settings

OVERLOAD_FACTOR = 10
# The tenant whose latency is measured, and the one that exceeds its limit.
_QUIET_TENANT, _NOISY_TENANT = 0, 1
# After this the burst allowance is used up, so that the noisy tenant exceeds its limit.
_BURST_S = 2.0


@click.command("limits", short_help="Measure the cost of rate limits.")
@click.option("--rounds", "count", default=7, show_default=True, type=click.IntRange(1))
@click.option(
    "--seconds", default=6.0, show_default=True, type=click.FloatRange(0.5), help="Per round."
)
@click.option(
    "--tenants", default=200, show_default=True, type=click.IntRange(2), help="Tenants in rotation."
)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1), help="Requests per second."
)
@click.option(
    "--pace",
    "per_second",
    default=16.0,
    show_default=True,
    type=float,
    help="Requests per second of the quiet tenant.",
)
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(
    count: int, seconds: float, tenants: int, limit: int, per_second: float, keep: bool
) -> None:
    """Measure the cost of rate limits, and a tenant's latency beside one that exceeds its limit."""
    if per_second >= limit:
        raise click.UsageError("The quiet tenant's --pace must be below the --limit.")
    try:
        with ExitStack() as stack:
            benchmark = _prepare(stack, tenants, limit, seconds, per_second)
            results = _measure(benchmark, count)
    except (BenchmarkRunning, ProcessNotLocal, ServerNotStarted) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{report.format_table(results)}\n")
    result_facts = run_facts(
        Postgres=benchmark.postgres.version,
        run=f"{count} interleaved rounds of {seconds:g} s for each figure",
        tenants=f"{tenants} in rotation for the cost, each below its limit",
        limits=f"{limit} requests per second of each key and tenant",
        neighbours=f"{per_second:g} and {OVERLOAD_FACTOR * limit} requests per second, each on "
        f"{load.CONNECTIONS} connections; its burst is used up",
        gunicorn="gunicorn.conf.py, two workers (gthread)",
    )
    if keep:
        click.echo(f"Written: {report.write_results(results, result_facts)}")
    if results.errors:
        raise click.ClickException(f"{results.errors} requests failed unexpectedly")


@dataclass(frozen=True)
class LimitsBenchmark:
    """A benchmark run: the servers, the tenants and the load.

    The `undelayed` server rejects requests at once.
    """

    postgres: BenchmarkDatabase
    limited: WebServer
    unlimited: WebServer
    undelayed: WebServer
    tenants: list[BenchmarkTenant]
    limit: int
    seconds: float
    per_second: float
    run_load: Callable[[LoadPlan], LoadResult]

    def measure_load(self, server: WebServer, tenants: list[BenchmarkTenant]) -> RoundResult:
        """Send as many requests as are answered, with these tenants in rotation."""
        plan = LoadPlan(server.port, self.seconds, 0, requests.list_requests(tenants, "vca"))
        result = round_runner.measure_round(server, self.postgres, self.run_load, plan)
        print_progress(f"{result.cpu_ms:6.2f} ms CPU, {result.requests_per_s:.0f} requests/s")
        return result

    def run_quiet_tenant(self, server: WebServer) -> LoadResult:
        """Send the quiet tenant's requests for twice the time, because a percentile needs many."""
        return pace.run_paced(
            self._paced_plan(server, _QUIET_TENANT, self.per_second, 2 * self.seconds)
        )

    def noisy_plan(self, server: WebServer) -> PacedPlan:
        """Return the plan of the tenant that exceeds its limit."""
        return self._paced_plan(server, _NOISY_TENANT, OVERLOAD_FACTOR * self.limit, 1.0)

    def _paced_plan(
        self, server: WebServer, tenant_index: int, per_second: float, seconds: float
    ) -> PacedPlan:
        tenant_requests = requests.list_requests([self.tenants[tenant_index]], "vca")
        return PacedPlan(server.port, seconds, per_second, load.CONNECTIONS, tenant_requests)


def _prepare(
    stack: ExitStack, tenants: int, limit: int, seconds: float, per_second: float
) -> LimitsBenchmark:
    print_progress("starting Postgres")
    database = stack.enter_context(postgres.serve_database())
    unlimited_environ = {**request_cost.ENVIRON, **database.environ()}
    limit_environ = {"RATE_LIMIT_KEY": str(limit), "RATE_LIMIT_TENANT": str(limit)}
    print_progress(f"creating {tenants} tenants")
    tenant_list = tenant_data.create_tenants(read_settings(unlimited_environ), database, tenants)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    run_load = stack.enter_context(load.load_process())
    print_progress("starting gunicorn, three times")
    limited = stack.enter_context(
        web.serve_app("wsgi:app", {**unlimited_environ, **limit_environ}, folder)
    )
    unlimited = stack.enter_context(web.serve_app("wsgi:app", unlimited_environ, folder))
    undelayed_environ = {**unlimited_environ, **limit_environ, "RATE_LIMIT_THREADS": "0"}
    undelayed = stack.enter_context(web.serve_app("wsgi:app", undelayed_environ, folder))
    return LimitsBenchmark(
        database, limited, unlimited, undelayed, tenant_list, limit, seconds, per_second, run_load
    )


def _measure(benchmark: LimitsBenchmark, count: int) -> LimitsResult:
    results = LimitsResult()
    for server in (benchmark.limited, benchmark.unlimited):
        print_progress("warming up")
        benchmark.measure_load(server, benchmark.tenants)
    for number in range(count):
        for step in (_measure_cost, _measure_neighbours):
            step(benchmark, results, backwards=bool(number % 2))
        ratios = ", ".join(f"{series[-1]:.2f}" for series in results.ratios().values())
        print_progress(f"round {number + 1}/{count}: {ratios}")
    return results


def _measure_cost(benchmark: LimitsBenchmark, results: LimitsResult, *, backwards: bool) -> None:
    servers = [(benchmark.unlimited, results.cpu_without), (benchmark.limited, results.cpu_with)]
    for server, series in servers[::-1] if backwards else servers:
        result = benchmark.measure_load(server, benchmark.tenants)
        series.append(result.cpu_ms)
        results.errors += result.errors
    results.cpu_refused.append(
        benchmark.measure_load(benchmark.undelayed, [benchmark.tenants[_NOISY_TENANT]]).cpu_ms
    )


def _measure_neighbours(
    benchmark: LimitsBenchmark, results: LimitsResult, *, backwards: bool
) -> None:
    scenarios = [
        (benchmark.limited, False, results.single_tenant),
        (benchmark.limited, True, results.with_busy_tenant),
        (benchmark.unlimited, True, results.unlimited),
    ]
    for server, with_noise, series in scenarios[::-1] if backwards else scenarios:
        tenant_data.mark_keys_used(benchmark.postgres)
        with pace.background_load(benchmark.noisy_plan(server)) if with_noise else nullcontext():
            sleep(_BURST_S)
            result = benchmark.run_quiet_tenant(server)
        series.append(result.percentile_ms(0.95))
        results.errors += result.errors
