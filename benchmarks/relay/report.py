"""Format the results of the relay benchmark as a page and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS_FOLDER
from benchmarks.turns.report import percentile_ms

TARGET_MS = 30.0
_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_INTRODUCTION = """\
First words: the time from a caller's prompt on the connection to the first words on the connection,
turn by turn. Model: the time of the fake model to its first token in the same turn, 300 ms. The
overhead is the difference. The callers, the model, both groups of gunicorn and Postgres share the
machine.
"""


@dataclass(frozen=True)
class RelayResult:
    """One run: seconds to the first words and of the model, turn by turn, and the errors."""

    first_s: Sequence[float]
    model_s: Sequence[float]
    sockets: int
    answered_turns: int
    errors: int
    cpu_s: float

    @property
    def overhead_s(self) -> list[float]:
        """The seconds from the model's first token to the first frame, for each turn."""
        return [first - model for first, model in zip(self.first_s, self.model_s, strict=True)]

    @property
    def is_met(self) -> bool:
        """Whether the overhead meets its target and nothing failed."""
        return percentile_ms(self.overhead_s, 0.95) <= TARGET_MS and not self.errors

    def percentiles_ms(self) -> dict[str, dict[str, float]]:
        """Return percentiles in milliseconds."""
        parts = {"first words": self.first_s, "model": self.model_s, "overhead": self.overhead_s}
        return {
            name: {
                percentile: round(percentile_ms(part, share), 1)
                for percentile, share in _PERCENTILES.items()
            }
            for name, part in parts.items()
        }


def format_table(result: RelayResult) -> str:
    """Return a table of percentiles with the target."""
    lines = ["| ms | p50 | p95 | p99 | target | met |", "|---|---:|---:|---:|---:|---|"]
    for name, percentiles in result.percentiles_ms().items():
        is_overhead = name == "overhead"
        target_cells = (
            (f"p95 ≤ {TARGET_MS:g}", "yes" if result.is_met else "no")
            if is_overhead
            else ("–", "–")
        )
        lines.append(f"| {' | '.join((name, *map(str, percentiles.values()), *target_cells))} |")
    return "\n".join(lines)


def extra_facts(result: RelayResult) -> dict[str, object]:
    """Return further facts of the run."""
    return {
        "sockets": result.sockets,
        "turns": f"{len(result.first_s)} counted, {result.errors} errors",
        "CPU": f"{result.cpu_s * 1000 / result.answered_turns:.1f} ms per turn of the relay; "
        "includes handshakes",
    }


def write_results(result: RelayResult, facts: Mapping[str, Any]) -> Path:
    """Write the results; return the path of the Markdown file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    page = (
        f"# The first words on a voice WebSocket\n\n{_INTRODUCTION}\n"
        f"{format_table(result)}\n\n{fact_lines}\n"
    )
    path = RESULTS_FOLDER / "relay.md"
    path.write_text(page)
    summary = {"facts": dict(facts), "milliseconds": result.percentiles_ms(), "met": result.is_met}
    (RESULTS_FOLDER / "relay.json").write_text(
        json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    )
    return path
