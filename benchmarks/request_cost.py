"""`python -m benchmarks requests`: the cost of a request, compared with hand-written code."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from benchmarks import (
    builds,
    load,
    postgres,
    report,
    request_comparison,
    requests,
    round_runner,
    tenant_data,
    web,
)
from benchmarks.builds import UnknownRevision
from benchmarks.cpu import ProcessNotLocal
from benchmarks.equivalence import AppPair, AppsDiffer
from benchmarks.load import LoadPlan, LoadResult, Requests
from benchmarks.postgres import BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.report import RoundResult, Target
from benchmarks.requests import FakeCarrierCalls
from benchmarks.tenant_data import BenchmarkTenant
from benchmarks.web import ServerNotStarted, WebServer
from vca.settings import read_settings

ENVIRON = {
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-the-benchmark-and-no-other",
    "API_KEY_PEPPERS": "a-pepper-of-the-benchmark-and-no-other",
    "TELEPHONY_PROVIDER": "fake",
    "LOG_LEVEL": "info",
    "WEB_WORKERS": "2",
    # Other benchmarks measure without rate limits; `limits` measures their cost.
    "RATE_LIMIT_KEY": "0",
    "RATE_LIMIT_TENANT": "0",
    "RATE_LIMIT_PLATFORM_KEY": "0",
}
_APPS = {
    "hello": "benchmarks.apps.hello:app",
    "vca": "wsgi:app",
    "by_hand": "benchmarks.apps.by_hand:app",
    "twilio": "wsgi:app",
}
# As in production: every request is counted, and none is refused. The hand-written app has neither.
_LIMITS_AND_METRICS = {
    "RATE_LIMIT_KEY": "100000",
    "RATE_LIMIT_TENANT": "100000",
    "RATE_LIMIT_PLATFORM_KEY": "100000",
    "METRICS_TOKEN": "a-metrics-token-of-the-benchmark-and-no-other",
}
_EXTRA_ENVIRON = {"vca": _LIMITS_AND_METRICS, "twilio": {**_LIMITS_AND_METRICS, **requests.TWILIO}}
_LIST, _CALL = "GET phone-numbers", "inbound call"
# Targets that are compared are adjacent; every second round has the reverse order.
_TARGETS = {
    "hello": ("hello", "bare Flask hello", None),
    "list": ("vca", f"{_LIST}, VCA", "list-by-hand"),
    "list-by-hand": ("by_hand", f"{_LIST}, by hand", None),
    "post": ("vca", "POST routing/explain, VCA", None),
    "call": ("vca", f"{_CALL}, VCA", "call-by-hand"),
    "call-by-hand": ("by_hand", f"{_CALL}, by hand", None),
    "call-twilio": ("twilio", f"{_CALL}, VCA, Twilio's", "call"),
}
_WARM_UP_ROUNDS = 2


@dataclass
class RequestBenchmark:
    """A benchmark run: the running apps, the requests of each target, and the results."""

    postgres: BenchmarkDatabase
    servers: dict[str, WebServer]
    requests: dict[str, Requests]
    targets: list[Target]
    run_load: Callable[[LoadPlan], LoadResult]
    print_progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self._sent_requests = dict.fromkeys(self.requests, 0)

    def measure(self, rounds: int, seconds: float) -> None:
        """Warm up, then load every target in turn, `rounds` times."""
        for target in self.targets:
            self.print_progress(f"warming up: {target.title}")
            self._measure_round(target, seconds * _WARM_UP_ROUNDS)
        for number in range(rounds):
            targets = self.targets if number % 2 == 0 else self.targets[::-1]
            for target in targets:
                result = self._measure_round(target, seconds)
                target.rounds.append(result)
                summary = f"{result.cpu_ms:6.2f} ms CPU, {result.requests_per_s:6.0f} requests/s"
                self.print_progress(f"round {number + 1}/{rounds}: {target.title:32} {summary}")

    def _measure_round(self, target: Target, seconds: float) -> RoundResult:
        server = self.servers[_TARGETS[target.name][0]]
        plan = LoadPlan(
            server.port, seconds, self._sent_requests[target.name], self.requests[target.name]
        )
        result = round_runner.measure_round(server, self.postgres, self.run_load, plan)
        self._sent_requests[target.name] += result.requests + load.CONNECTIONS
        return result


@click.command("requests", short_help="Measure CPU per request.")
@click.option(
    "--rounds", default=7, show_default=True, type=click.IntRange(1), help="Rounds of each target."
)
@click.option(
    "--seconds", default=3.0, show_default=True, type=click.FloatRange(0.2), help="Per round."
)
@click.option(
    "--tenants", default=200, show_default=True, type=click.IntRange(2), help="Tenants in rotation."
)
@click.option(
    "--only", multiple=True, type=click.Choice(list(_TARGETS)), help="Measure only these targets."
)
@click.option("--against", metavar="REV", help="Compare with another revision instead.")
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(
    rounds: int,
    seconds: float,
    tenants: int,
    only: Sequence[str],
    against: str | None,
    keep: bool,
) -> None:
    """Measure CPU per request under gunicorn with two workers, compared with hand-written code.

    With --against, compare instead a GET and a POST of this checkout with those of another
    revision.
    """
    if against is not None:
        _compare_revisions(against, rounds, seconds, keep=keep)
        return
    targets = [
        Target(name, title, baseline)
        for name, (_, title, baseline) in _TARGETS.items()
        if not only or name in only
    ]
    try:
        with ExitStack() as stack:
            benchmark, comparisons = _prepare(stack, targets, tenants)
            benchmark.measure(rounds, seconds)
            facts = _run_facts(benchmark, rounds, seconds, tenants, comparisons)
    except (BenchmarkRunning, ProcessNotLocal, AppsDiffer, ServerNotStarted) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{report.format_table(targets)}\n")
    if keep:
        click.echo(f"Written: {report.write_results(targets, facts)}")
    errors = sum(measured.errors for target in targets for measured in target.rounds)
    if errors:
        raise click.ClickException(f"{errors} requests failed; the results are invalid")


def _compare_revisions(revision: str, rounds: int, seconds: float, *, keep: bool) -> None:
    try:
        commit = builds.commit_of(revision)
        comparisons = request_comparison.compare_with(
            commit, ENVIRON, rounds=rounds, seconds=seconds
        )
    except (BenchmarkRunning, ProcessNotLocal, ServerNotStarted, UnknownRevision) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{request_comparison.format_comparisons(comparisons)}\n")
    if keep:
        facts = report.run_facts(
            revision=commit,
            run=f"{rounds} rounds of {seconds:g} s of each, alternately, after a warm-up",
            tenants=f"{request_comparison.TENANTS} in rotation",
            connections=load.CONNECTIONS,
        )
        click.echo(f"Written: {request_comparison.write_comparisons(comparisons, facts)}")
    if errors := sum(compared.errors for compared in comparisons):
        raise click.ClickException(f"{errors} requests failed; the results are invalid")


def _prepare(stack: ExitStack, targets: list[Target], tenants: int) -> tuple[RequestBenchmark, int]:
    """Start the database and the apps, create tenants, and check that two apps do the same work.

    Return the benchmark and the number of comparisons.
    """
    print_progress("starting Postgres")
    database = stack.enter_context(postgres.serve_database())
    environ = {**ENVIRON, **database.environ()}
    settings = read_settings(environ)
    print_progress(f"creating {tenants} tenants")
    tenant_list = tenant_data.create_tenants(settings, database, tenants)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    run_load = stack.enter_context(load.load_process())
    print_progress("starting gunicorn, four times")
    servers = {
        name: stack.enter_context(web.serve_app(app, _app_environ(name, environ, folder), folder))
        for name, app in _APPS.items()
    }
    calls_for_app = partial(_fake_carrier_calls, environ, tenant_list)
    comparisons = AppPair(servers["vca"], servers["by_hand"], database, calls_for_app).check(
        tenant_list
    )
    print_progress(f"both apps do the same work: {comparisons} comparisons passed")
    return RequestBenchmark(
        database,
        servers,
        _target_requests(tenant_list, calls_for_app),
        targets,
        run_load,
        print_progress,
    ), comparisons


def _app_environ(name: str, environ: dict[str, str], folder: Path) -> dict[str, str]:
    """Return the settings of an app; each has a folder of its own for its metrics."""
    metrics = {"METRICS_DIR": str(folder / f"metrics-{name}")}
    return {**environ, **metrics, **_EXTRA_ENVIRON.get(name, {})}


def _fake_carrier_calls(
    environ: dict[str, str], tenants: Sequence[BenchmarkTenant], app: str
) -> FakeCarrierCalls:
    numbers = tuple(tenant.number for tenant in tenants)
    return FakeCarrierCalls(environ["SECRET_KEY"], environ["PUBLIC_BASE_URL"], app, numbers)


def _target_requests(
    tenants: Sequence[BenchmarkTenant], calls_for_app: Callable[[str], FakeCarrierCalls]
) -> dict[str, Requests]:
    return {
        "hello": requests.hello_requests(),
        "list": requests.list_requests(tenants, "vca"),
        "list-by-hand": requests.list_requests(tenants, "by_hand"),
        "post": requests.explain_requests(tenants),
        "call": calls_for_app("vca"),
        "call-by-hand": calls_for_app("by_hand"),
        "call-twilio": requests.TwilioCalls(
            calls_for_app("vca").base_url, calls_for_app("vca").numbers
        ),
    }


def _run_facts(
    benchmark: RequestBenchmark, rounds: int, seconds: float, tenants: int, comparisons: int
) -> dict[str, object]:
    return report.run_facts(
        Postgres=benchmark.postgres.version,
        run=f"{rounds} interleaved rounds of {seconds:g} s for each target, after a warm-up",
        tenants=f"{tenants} in rotation, {tenant_data.NUMBERS_PER_TENANT} numbers each",
        connections=load.CONNECTIONS,
        limits="rate limits and metrics of VCA are on; the hand-written app has neither",
        gunicorn="gunicorn.conf.py, two workers (gthread), not restarted during the run",
        sameness=f"{comparisons} comparisons of both apps' responses, rows and log lines passed",
    )
