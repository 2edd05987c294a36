"""`python -m benchmarks neighbours`: the quiet tenant alone, and beside busy clients."""

from collections.abc import Sequence
from contextlib import ExitStack

import click

from benchmarks.cpu import ProcessNotLocal
from benchmarks.neighbours import report
from benchmarks.neighbours.busy_clients import SCENARIOS
from benchmarks.neighbours.generator_process import GeneratorFailed
from benchmarks.neighbours.runner import RoundRunner, ScenarioResult
from benchmarks.neighbours.service import Service, start_service
from benchmarks.postgres import BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.report import run_facts
from benchmarks.web import ServerNotStarted

_WARM_UP_S = 10.0


@click.command("neighbours", short_help="Measure a tenant beside busy clients.")
@click.option(
    "--rounds", "count", default=3, show_default=True, type=click.IntRange(1), help="Pairs each."
)
@click.option(
    "--seconds", default=60.0, show_default=True, type=click.FloatRange(5), help="Per round."
)
@click.option(
    "--counts-only",
    is_flag=True,
    help="One round for each busy client; count failures, and measure no latency.",
)
@click.option("--only", metavar="TEXT", help="Only the scenarios whose name contains this.")
@click.option("--note", default="", help="Remark for the results.")
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(
    count: int, seconds: float, counts_only: bool, only: str | None, note: str, keep: bool
) -> None:
    """Measure the latency of a quiet tenant beside each busy client."""
    names = [name for name in SCENARIOS if only is None or only in name]
    if not names:
        raise click.UsageError(f"The scenarios are: {'; '.join(SCENARIOS)}.")
    try:
        with ExitStack() as stack:
            if counts_only:
                _count_failures(RoundRunner(start_service(stack, len(names)), seconds), names)
                return
            service = start_service(stack, busy_tenants=len(names) * count)
            results = _measure(RoundRunner(service, seconds), names, count)
    except (BenchmarkRunning, GeneratorFailed, ProcessNotLocal, ServerNotStarted) as error:
        raise click.ClickException(str(error)) from error
    figures = [report.figures_of(result) for result in results]
    click.echo(f"\n{report.format_table(figures)}\n")
    if keep:
        facts = _run_facts(service, count, seconds, note)
        click.echo(f"Written: {report.write_results(results, figures, facts)}")
    if not all(scenario.is_met for scenario in figures):
        raise click.ClickException("a target was missed")


def _count_failures(runner: RoundRunner, names: Sequence[str]) -> None:
    """Run each scenario once. Raises ClickException for failed requests and undialled calls."""
    problems = []
    for name in names:
        result = runner.run_beside(name)
        undialled_calls = result.dial_delays_s.count(None)
        counts = f"{result.load.unsuccessful_requests} failed, {undialled_calls} not dialled"
        print_progress(f"{name}: {len(result.load.all_latencies_s)} requests, {counts}")
        if result.load.unsuccessful_requests or undialled_calls or not result.dial_delays_s:
            statuses = dict(result.load.statuses)
            problems.append(f"{name}: {counts}; {statuses} {result.load.failures[:3]}")
    if problems:
        raise click.ClickException("\n".join(problems))


def _measure(runner: RoundRunner, names: Sequence[str], count: int) -> list[ScenarioResult]:
    print_progress("warming up")
    runner.warm_up(_WARM_UP_S)
    results = []
    for name in names:
        result = ScenarioResult(name)
        for number in range(count):
            result.single_rounds.append(runner.run_alone())
            result.neighbour_rounds.append(runner.run_beside(name))
            so_far = report.figures_of(result)
            print_progress(
                f"{name}, round {number + 1}/{count}: p95 {so_far.p95_alone_ms:.1f} → "
                f"{so_far.p95_beside_ms:.1f} ms, p99 {so_far.p99_beside_ms:.1f} ms, "
                f"{so_far.server_errors} × 5xx, {so_far.undialled_calls} not dialled, slowest "
                f"{so_far.slowest_dial_s:.2f} s"
            )
        results.append(result)
    return results


def _run_facts(service: Service, count: int, seconds: float, note: str) -> dict[str, object]:
    settings = service.settings
    return run_facts(
        Postgres=service.database.version,
        run=f"{count} alternate pairs of rounds of {seconds:g} s for each busy client",
        processes=f"{settings.web_workers} web workers of {settings.web_threads} threads, "
        f"{settings.relay_workers} relay workers of {settings.relay_threads} threads, one worker "
        "of jobs; default limits",
        **({"note": note} if note else {}),
    )
