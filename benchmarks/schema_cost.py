"""`python -m benchmarks schemas`: the CPU time that hostile JSON Schemas of tenants take."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from typing import Any

import click

from benchmarks import hostile_schemas
from benchmarks.progress import print_progress
from benchmarks.report import RESULTS_FOLDER, run_facts
from vca.conversation import json_schema

SAVE_TARGET_MS = 50.0
APPLY_TARGET_MS = 100.0
_LONG_RUN_MS, _RUN_COUNT = 10.0, 3
_INTRODUCTION = """\
CPU time of the thread for the check of a JSON Schema of up to 20 kB when it is saved, and for
applying it to a value of up to 17 kB. The schemas and values are generated to be as expensive as
possible (`benchmarks/hostile_schemas.py`). Most of them are refused when they are saved, or are
reported as not applicable; all are applied, as if they had been stored before they were checked.
Each case that takes longer than 10 ms is measured three times, and its least time counts.
"""


@dataclass(frozen=True)
class CostResult:
    """The CPU milliseconds of one kind of work over all cases."""

    title: str
    target_ms: float
    maximum_ms: float
    p99_ms: float
    median_ms: float


@click.command("schemas", short_help="Measure hostile JSON Schemas.")
@click.option("--cases", default=2_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=20_261_130, show_default=True)
def command(cases: int, seed: int) -> None:
    """Measure the CPU time of 2,000 generated hostile schemas, when saved and when applied."""
    print_progress(f"checking and applying {cases:,} schemas")
    results = _measure(cases, seed)
    table = _format_table(results)
    facts = run_facts(cases=cases, seed=seed)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    text = f"# JSON Schemas of tenants\n\n{_INTRODUCTION}\n{table}\n\n{fact_lines}\n"
    (RESULTS_FOLDER / "schemas.md").write_text(text)
    summary = {"facts": facts, "results": [asdict(result) for result in results]}
    (RESULTS_FOLDER / "schemas.json").write_text(json.dumps(summary, indent=2) + "\n")
    click.echo(table)
    if any(result.maximum_ms > result.target_ms for result in results):
        raise click.ClickException("a target was missed")


def _measure(case_count: int, seed: int) -> list[CostResult]:
    rng = Random(seed)
    saved_ms, applied_ms = [], []
    for _ in range(case_count):
        schema, value = hostile_schemas.generate(rng)
        saved_ms.append(_cpu_ms(partial(_check, schema)))
        applied_ms.append(_cpu_ms(partial(json_schema.find_problem, value, schema)))
    return [
        _summarize("checking a schema when it is saved", SAVE_TARGET_MS, saved_ms),
        _summarize("applying a schema to a value", APPLY_TARGET_MS, applied_ms),
    ]


def _check(schema: dict[str, Any]) -> None:
    try:
        json_schema.check_schema(schema)
    except json_schema.UnusableSchema:
        return


def _cpu_ms(function: Callable[[], object]) -> float:
    """Return the CPU time; of a long run the least of several, because other processes disturb."""
    durations_ms: list[float] = []
    while len(durations_ms) < _RUN_COUNT:
        started_s = time.thread_time()
        function()
        durations_ms.append((time.thread_time() - started_s) * 1_000)
        if durations_ms[0] < _LONG_RUN_MS:
            break
    return min(durations_ms)


def _summarize(title: str, target_ms: float, durations_ms: list[float]) -> CostResult:
    ordered = sorted(durations_ms)
    p99_ms, median_ms = ordered[len(ordered) * 99 // 100], ordered[len(ordered) // 2]
    return CostResult(title, target_ms, ordered[-1], p99_ms, median_ms)


def _format_table(results: list[CostResult]) -> str:
    rows = [
        f"| {result.title} | **{result.maximum_ms:.1f} ms** | {result.p99_ms:.1f} ms"
        f" | {result.median_ms:.2f} ms | ≤ {result.target_ms:g} ms |"
        for result in results
    ]
    head = "| CPU time | maximum | p99 | median | wanted |\n|---|---:|---:|---:|---:|"
    return "\n".join([head, *rows])
