"""`make chaos`: a thousand deaths of web and worker at crash points, and what came of the calls.

And of what the tenants' own systems were to be told of them.
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

from tests.chaos.points import OF_WORKERS, POINTS
from tests.chaos.rehearsal import Plan, Rehearsal, Report, prepared
from tests.support import databases, owner
from tests.support.world import World
from vca.app import create_app
from vca.settings import read_settings

_TELL_EVERY_S = 5.0


@click.command("chaos")
@click.option("--kills", default=1_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, help="Orders the points and the calls.")
@click.option("--calls", default=16, show_default=True, type=click.IntRange(1), help="At once.")
@click.option("--minutes", default=30.0, show_default=True, help="Give up after so long.")
@click.option("--workers-only", is_flag=True, help="Spare the web processes.")
def main(kills: int, seed: int, calls: int, minutes: float, workers_only: bool) -> None:
    """Kill web and worker with SIGKILL while calls go on; every call must have one end."""
    plan = Plan(kills, seed, calls, minutes * 60, OF_WORKERS if workers_only else POINTS)
    with _rehearsal(plan) as rehearsal:
        click.echo(f"{kills} kills, seed {seed}, {calls} calls at once")
        report = rehearsal.run(plan, _progress(plan))
    click.echo(table(report))
    sys.exit(1 if report.problems else 0)


@contextmanager
def _rehearsal(plan: Plan) -> Iterator[Rehearsal]:
    server = databases.start(databases.place())
    owner.use(server.url)
    try:
        url = server.clone(f"vca_test_{os.getpid()}_chaos")
        with tempfile.TemporaryDirectory() as folder:
            settings = read_settings(_own(url, plan))
            world = World(create_app(settings))
            with prepared(settings, url, Path(folder), world) as ready:
                yield ready
    finally:
        server.stop(os.getpid())


def _own(url: str, plan: Plan) -> dict[str, str]:
    """The settings of this process, which makes the tenants and reads what is on record."""
    return {
        "DATABASE_URL": databases.as_login(url, databases.WEB),
        "MIGRATION_DATABASE_URL": url,
        "APP_ENV": "development",
        "APP_NAME": "VCA in a rehearsal",
        "DEBUG": "false",
        "SECRET_KEY": "a-secret-of-the-rehearsal-and-no-other",
        "API_KEY_PEPPERS": "a-pepper-of-the-rehearsal-and-no-other",
        "DATABASE_POOL_SIZE": str(plan.calls + 2),
        "LOG_LEVEL": "warning",
    }


def _progress(plan: Plan) -> Callable[[Report], None]:
    """A line now and then, on a terminal over the one before."""
    told_at = time.monotonic()

    def watch(report: Report) -> None:
        nonlocal told_at
        if time.monotonic() - told_at < _TELL_EVERY_S:
            return
        told_at = time.monotonic()
        line = f"[{report.took_s:5.0f} s] {report.kills.total()}/{plan.kills} kills, "
        line += f"{len(report.told)} calls over, {len(report.problems)} problems"
        click.echo(f"\r{line}" if sys.stdout.isatty() else line, nl=not sys.stdout.isatty())

    return watch


def table(report: Report) -> str:
    """What was killed, what came of the calls, and all that should not be."""
    lines = ["", f"{'crash point':28} kills"]
    lines += [f"{point:28} {report.kills[point]:5}" for point in POINTS]
    lines += [f"{'all':28} {report.kills.total():5}   in {report.took_s:.0f} s", ""]
    lines += [f"{'calls':12} {'over':>5} {'not dialled':>12} {'median s':>9} {'longest s':>10}"]
    for scenario in sorted({one.scenario for one in report.told}):
        told = [one for one in report.told if one.scenario == scenario]
        ended = [one.ended_after_s for one in told]
        undialled = sum(not one.dialled for one in told)
        lines.append(
            f"{scenario:12} {len(told):5} {undialled:12} {median(ended):9.1f} {max(ended):10.1f}"
        )
    repeats = report.requests - report.events
    lines += ["", f"{report.events} events told in {report.requests} requests, {repeats} repeats"]
    lines += ["", f"problems: {len(report.problems)}"]
    return "\n".join([*lines, *(f"  {problem}" for problem in report.problems)])


if __name__ == "__main__":
    main()
