"""Format the results of the turns benchmark as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS_FOLDER

TARGET_MS = 50.0
_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_INTRODUCTION = """\
Turn: the time from the carrier's signed request to the last byte of the response. Model: the time
of the same turn in the fake model's server, which sends twenty tokens, the first after 300 ms, then
one every 20 ms. VCA's own share is the difference, turn by turn. The load, the model, the web
server and Postgres share the machine.
"""


@dataclass(frozen=True)
class TurnsResult:
    """One run: seconds of each turn and of its model, in the same order.

    `answered_turns` and the CPU seconds include the turns of the warm-up.
    """

    turns_s: Sequence[float]
    model_s: Sequence[float]
    elapsed_s: float
    answered_turns: int
    errors: int
    web_cpu_s: float
    postgres_cpu_s: float

    @property
    def own_s(self) -> list[float]:
        """The seconds of each turn without those of the model."""
        pairs = zip(self.turns_s, self.model_s, strict=True)
        return [turn - model for turn, model in pairs]

    @property
    def is_met(self) -> bool:
        """Whether VCA's own share meets its target and nothing failed."""
        return percentile_ms(self.own_s, 0.95) <= TARGET_MS and not self.errors

    def percentiles_ms(self) -> dict[str, dict[str, float]]:
        """Return percentiles in milliseconds of the turn, of the model and of VCA's own share."""
        parts = {"turn": self.turns_s, "model": self.model_s, "VCA's own share": self.own_s}
        return {
            name: {
                percentile: round(percentile_ms(part, share), 1)
                for percentile, share in _PERCENTILES.items()
            }
            for name, part in parts.items()
        }


def percentile_ms(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed, in milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def format_table(result: TurnsResult) -> str:
    """Return a table of percentiles with the target."""
    lines = ["| ms | p50 | p95 | p99 | target | met |", "|---|---:|---:|---:|---:|---|"]
    for name, percentiles in result.percentiles_ms().items():
        is_own_share = name not in ("turn", "model")
        target_cells = (
            (f"p95 ≤ {TARGET_MS:g}", "yes" if result.is_met else "no")
            if is_own_share
            else ("–", "–")
        )
        lines.append(f"| {' | '.join((name, *map(str, percentiles.values()), *target_cells))} |")
    return "\n".join(lines)


def extra_facts(result: TurnsResult) -> dict[str, object]:
    """Return further facts of the run."""
    turns = len(result.turns_s)
    return {
        "turns": f"{turns}, {turns / result.elapsed_s:.1f} a second, {result.errors} errors",
        "CPU": f"{result.web_cpu_s * 1000 / result.answered_turns:.1f} ms per turn "
        "of the web server, "
        f"{result.postgres_cpu_s * 1000 / result.answered_turns:.1f} ms of Postgres; "
        "includes rings and hang-ups",
    }


def write_results(result: TurnsResult, facts: Mapping[str, Any]) -> Path:
    """Write the results; return the path of the Markdown file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    page = (
        f"# VCA's own share of a turn\n\n{_INTRODUCTION}\n{format_table(result)}\n\n{fact_lines}\n"
    )
    path = RESULTS_FOLDER / "turns.md"
    path.write_text(page)
    summary = {"facts": dict(facts), "milliseconds": result.percentiles_ms(), "met": result.is_met}
    (RESULTS_FOLDER / "turns.json").write_text(
        json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    )
    return path
