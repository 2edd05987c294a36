"""Format the results of the deliveries benchmark as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS_FOLDER
from benchmarks.turns.report import percentile_ms

_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_INTRODUCTION = """\
One of ten tenants has a webhook whose receiver accepts connections and never answers, with 100,000
due deliveries, and a second webhook that accepts deliveries, with 100,000 due in the next three
days. A claim is the transaction in which a job selects an endpoint's next delivery and marks the
endpoint as busy; a record is the one that stores the result. The first attempt is the time from an
event's commit to its receipt at the endpoints that accept deliveries, with the product's own
worker. All processes share the machine.
"""


@dataclass(frozen=True)
class LatencyFigure:
    """One line of the table: durations in seconds, and a target for their 95th percentile."""

    name: str
    durations_s: Sequence[float]
    target_ms: float | None = None

    @property
    def percentiles_ms(self) -> dict[str, float]:
        """The percentiles in milliseconds, by name."""
        return {
            percentile: round(percentile_ms(self.durations_s, share), 1)
            for percentile, share in _PERCENTILES.items()
        }

    @property
    def is_met(self) -> bool:
        """Whether the 95th percentile meets its target, if it has one."""
        return self.target_ms is None or self.percentiles_ms["p95"] <= self.target_ms


def format_table(figures: Sequence[LatencyFigure]) -> str:
    """Return a table of percentiles and targets, one line for each figure."""
    lines = [
        "| ms | count | p50 | p95 | p99 | target | met |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for figure in figures:
        target_cells = (
            ("–", "–")
            if figure.target_ms is None
            else (f"p95 ≤ {figure.target_ms:g}", _yes_or_no(figure))
        )
        cells = (
            figure.name,
            str(len(figure.durations_s)),
            *map(str, figure.percentiles_ms.values()),
            *target_cells,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_results(figures: Sequence[LatencyFigure], facts: Mapping[str, Any]) -> Path:
    """Write the results; return the path of the Markdown file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    page = (
        f"# An unresponsive receiver, and the others\n\n{_INTRODUCTION}\n"
        f"{format_table(figures)}\n\n{fact_lines}\n"
    )
    path = RESULTS_FOLDER / "deliveries.md"
    path.write_text(page)
    milliseconds = {
        figure.name: {**figure.percentiles_ms, "met": figure.is_met} for figure in figures
    }
    summary = {"facts": dict(facts), "milliseconds": milliseconds}
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (RESULTS_FOLDER / "deliveries.json").write_text(f"{text}\n")
    return path


def _yes_or_no(figure: LatencyFigure) -> str:
    return "yes" if figure.is_met else "no"
