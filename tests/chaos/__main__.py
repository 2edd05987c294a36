"""Run `make chaos`: kill web and worker processes at failpoints and report on the calls.

By default, it kills a thousand processes. The report covers the deliveries to tenants' webhook
endpoints too.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click

from tests.chaos.failpoints import FAILPOINTS, WORKER_FAILPOINTS
from tests.chaos.runner import ChaosPlan, ChaosReport, ChaosRun, start_chaos_run
from tests.support import admin_db, databases, services
from tests.support.factories import Factory
from vca.app import create_app
from vca.settings import read_settings

_PROGRESS_EVERY_S = 5.0


@click.command("chaos")
@click.option("--kills", default=1_000, show_default=True, type=click.IntRange(1))
@click.option(
    "--seed", default=1, show_default=True, help="Order of the failpoints and of the calls."
)
@click.option(
    "--calls", default=16, show_default=True, type=click.IntRange(1), help="Concurrent calls."
)
@click.option("--minutes", default=30.0, show_default=True, help="Time limit.")
@click.option("--workers-only", is_flag=True, help="Kill no web process.")
def main(kills: int, seed: int, calls: int, minutes: float, workers_only: bool) -> None:
    """Kill web and worker with SIGKILL during calls, and check that every call ends once."""
    plan = ChaosPlan(
        kills, seed, calls, minutes * 60, WORKER_FAILPOINTS if workers_only else FAILPOINTS
    )
    with _start_chaos_run(plan) as chaos_run:
        click.echo(f"{kills} kills, seed {seed}, {calls} concurrent calls")
        report = chaos_run.run(plan, _progress_printer(plan))
    click.echo(format_report(report))
    sys.exit(1 if report.problems else 0)


@contextmanager
def _start_chaos_run(plan: ChaosPlan) -> Iterator[ChaosRun]:
    server = databases.start_server(databases.server_folder(), run_id=os.getpid())
    admin_db.set_server_url(server.url)
    try:
        url = server.clone_template(f"vca_test_{os.getpid()}_chaos")
        with tempfile.TemporaryDirectory() as folder:
            settings = read_settings(_process_settings(url, plan))
            app = create_app(settings)
            services.set_app(app)
            world = Factory(app)
            with start_chaos_run(settings, url, Path(folder), world) as chaos_run:
                yield chaos_run
    finally:
        databases.stop_server(os.getpid())


def _process_settings(url: str, plan: ChaosPlan) -> dict[str, str]:
    """Return the settings of this process, which creates the tenants and reads the stored calls."""
    return {
        "DATABASE_URL": databases.as_login(url, databases.WEB),
        "MIGRATION_DATABASE_URL": url,
        "APP_ENV": "development",
        "APP_NAME": "VCA in a chaos run",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-the-chaos-run-and-no-other",
        "API_KEY_PEPPERS": "a-pepper-of-the-chaos-run-and-no-other",
        "DATABASE_POOL_SIZE": str(plan.calls + 2),
        "LOG_LEVEL": "warning",
    }


def _progress_printer(plan: ChaosPlan) -> Callable[[ChaosReport], None]:
    """Return a function that prints a line every few seconds; on a terminal, over the last one."""
    printed_at = time.monotonic()

    def print_progress(report: ChaosReport) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at < _PROGRESS_EVERY_S:
            return
        printed_at = time.monotonic()
        line = f"[{report.duration_s:5.0f} s] {report.kills.total()}/{plan.kills} kills, "
        line += f"{len(report.results)} calls ended, {len(report.problems)} problems"
        click.echo(f"\r{line}" if sys.stdout.isatty() else line, nl=not sys.stdout.isatty())

    return print_progress


def format_report(report: ChaosReport) -> str:
    """Return the kills at each failpoint, the durations of the calls, and all problems."""
    lines = ["", f"{'failpoint':28} kills"]
    lines += [f"{point:28} {report.kills[point]:5}" for point in FAILPOINTS]
    lines += [f"{'all':28} {report.kills.total():5}   in {report.duration_s:.0f} s", ""]
    lines += [f"{'calls':12} {'ended':>5} {'not dialled':>12} {'median s':>9} {'longest s':>10}"]
    for scenario in sorted({result.scenario for result in report.results}):
        scenario_results = [result for result in report.results if result.scenario == scenario]
        durations_s = [result.ended_after_s for result in scenario_results]
        undialled_count = sum(not result.dialled for result in scenario_results)
        lines.append(
            f"{scenario:12} {len(scenario_results):5} {undialled_count:12}"
            f" {median(durations_s):9.1f} {max(durations_s):10.1f}"
        )
    repeats = report.requests - report.events
    lines += [
        "",
        f"{report.events} events delivered in {report.requests} requests, {repeats} repeats",
    ]
    lines += ["", f"problems: {len(report.problems)}"]
    return "\n".join([*lines, *(f"  {problem}" for problem in report.problems)])


if __name__ == "__main__":
    main()
