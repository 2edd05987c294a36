"""`flask tenants migrate` with nothing to do, without what any command of it takes to start."""

import os
import subprocess
import sys
from time import perf_counter

from benchmarks.fleet.report import Figure
from benchmarks.postgres import ROOT

_TIMES = 5
_LIMIT_S = 1.0
_FLASK = (sys.executable, "-m", "flask", "--app", "wsgi", "tenants")


def measure(environ: dict[str, str], tenants: int) -> Figure:
    """In turns; the difference of the least, since a start takes longer than what is looked for."""
    nothing: list[float] = []
    starting: list[float] = []
    for _ in range(_TIMES):
        nothing.append(_run(environ, "migrate"))
        starting.append(_run(environ, "--help"))
    ours, start = min(nothing), min(starting)
    return Figure(
        "flask tenants migrate, nothing to do, minus the command's start",
        tenants,
        f"{ours:.2f} s",
        f"{start:.2f} s to start",
        ours - start,
        _LIMIT_S,
        unit="s",
    )


def _run(environ: dict[str, str], *words: str) -> float:
    began = perf_counter()
    subprocess.run(
        [*_FLASK, *words],
        cwd=ROOT,
        env={**os.environ, **environ},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    return perf_counter() - began
