"""Measure `flask tenants migrate` with nothing to do, minus the command's start."""

import os
import subprocess
import sys
from time import perf_counter

from benchmarks.fleet.report import FleetFigure
from benchmarks.postgres import ROOT

_RUNS = 5
_MAX_S = 1.0
_COMMAND = (sys.executable, "-m", "flask", "--app", "wsgi", "tenants")


def measure_idle_migration(environ: dict[str, str], tenants: int) -> FleetFigure:
    """Alternate between both commands and return the difference of the shortest times.

    The shortest times are used because a start takes longer than the difference.
    """
    migrations_s: list[float] = []
    starts_s: list[float] = []
    for _ in range(_RUNS):
        migrations_s.append(_run_command(environ, "migrate"))
        starts_s.append(_run_command(environ, "--help"))
    migration_s, start_s = min(migrations_s), min(starts_s)
    return FleetFigure(
        "flask tenants migrate, nothing to do, minus the command's start",
        tenants,
        f"{migration_s:.2f} s",
        f"{start_s:.2f} s to start",
        migration_s - start_s,
        _MAX_S,
        unit="s",
    )


def _run_command(environ: dict[str, str], *arguments: str) -> float:
    started_at = perf_counter()
    subprocess.run(
        [*_COMMAND, *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    return perf_counter() - started_at
