"""Format the results of the turns benchmark as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import RESULTS_FOLDER
from benchmarks.turns.comparison import MAX_RATIO, Comparison

TARGET_MS = 50.0
MEDIAN_TARGET_MS = 25.0
MAX_SLOW_RATIO = 1.15
_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_INTRODUCTION = """\
Turn: the time from the carrier's signed request to the last byte of the response. Model: the time
of the same turn in the fake model's server, which sends twenty tokens, one every 20 ms. The fast
model sends the first after 300 ms, the slow one after 1.2 s, so that the carrier polls for the
rest of its answer. VCA's own share is the difference, turn by turn. The load, the model, the web
server and Postgres share the machine.
"""
_COMPARISON_INTRODUCTION = """\
CPU of the web and relay processes per turn, including their share of rings and hang-ups, of this
checkout and of another revision, in alternate rounds on the same machine. Both run with the same
libraries. Callers only think.
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
        """Whether VCA's own share meets its targets and nothing failed."""
        is_fast = percentile_ms(self.own_s, 0.95) <= TARGET_MS
        return is_fast and percentile_ms(self.own_s, 0.5) <= MEDIAN_TARGET_MS and not self.errors

    @property
    def web_cpu_ms(self) -> float:
        """The CPU milliseconds of the web server per turn."""
        return self.web_cpu_s * 1000 / self.answered_turns

    def __add__(self, other: "TurnsResult") -> "TurnsResult":
        return TurnsResult(
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        )

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


def format_table(results: Mapping[str, TurnsResult]) -> str:
    """Return a table of percentiles with the targets, for each model."""
    lines = ["| model | ms | p50 | p95 | p99 | target | met |", "|---|---|---:|---:|---:|---|---|"]
    for model, result in results.items():
        for name, percentiles in result.percentiles_ms().items():
            is_own_share = name not in ("turn", "model")
            target_cells = (
                (
                    f"p50 ≤ {MEDIAN_TARGET_MS:g}, p95 ≤ {TARGET_MS:g}",
                    "yes" if result.is_met else "no",
                )
                if is_own_share
                else ("–", "–")
            )
            cells = (model, name, *map(str, percentiles.values()), *target_cells)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def extra_facts(results: Mapping[str, TurnsResult]) -> dict[str, object]:
    """Return further facts of the run."""
    facts: dict[str, object] = {}
    for model, result in results.items():
        turns = len(result.turns_s)
        facts[f"turns, {model} model"] = f"{turns}, {result.errors} errors"
        facts[f"CPU, {model} model"] = (
            f"{result.web_cpu_ms:.1f} ms per turn of the web server, "
            f"{result.postgres_cpu_s * 1000 / result.answered_turns:.1f} ms of Postgres; "
            "includes rings and hang-ups"
        )
    ratio = results["slow"].web_cpu_ms / results["fast"].web_cpu_ms
    facts["CPU, slow ÷ fast"] = f"{ratio:.2f} (target ≤ {MAX_SLOW_RATIO})"
    return facts


def format_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Return a table with one line for each scenario."""
    lines = [
        "| scenario | CPU ms/turn | other revision | ratio, median (min–max) | target | met |",
        "|---|---:|---:|---:|---|---|",
    ]
    for compared in comparisons:
        ratios = compared.ratios
        lines.append(
            f"| {compared.scenario} | {compared.cpu_ms:.1f} | {compared.other_cpu_ms:.1f} | "
            f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f}) | ≤ {MAX_RATIO} | "
            f"{'yes' if median(ratios) <= MAX_RATIO else 'no'} |"
        )
    return "\n".join(lines)


def write_comparisons(comparisons: Sequence[Comparison], facts: Mapping[str, Any]) -> Path:
    """Write the comparisons; return the path of the Markdown file."""
    summary = [
        {
            "scenario": str(compared.scenario),
            "rounds": [asdict(measured) for measured in compared.rounds],
            "other_rounds": [asdict(measured) for measured in compared.other_rounds],
            "ratio": median(compared.ratios),
        }
        for compared in comparisons
    ]
    return _write(
        "turns-comparison",
        "CPU per turn compared with another revision",
        f"{_COMPARISON_INTRODUCTION}\n{format_comparisons(comparisons)}",
        facts,
        {"scenarios": summary},
    )


def write_results(results: Mapping[str, TurnsResult], facts: Mapping[str, Any]) -> Path:
    """Write the results; return the path of the Markdown file."""
    summary = {
        name: {"milliseconds": result.percentiles_ms(), "met": result.is_met}
        for name, result in results.items()
    }
    return _write(
        "turns",
        "VCA's own share of a turn",
        f"{_INTRODUCTION}\n{format_table(results)}",
        facts,
        summary,
    )


def _write(
    name: str, title: str, text: str, facts: Mapping[str, Any], summary: Mapping[str, Any]
) -> Path:
    RESULTS_FOLDER.mkdir(exist_ok=True)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = RESULTS_FOLDER / f"{name}.md"
    path.write_text(f"# {title}\n\n{text}\n\n{fact_lines}\n")
    document = {"facts": dict(facts), **summary}
    (RESULTS_FOLDER / f"{name}.json").write_text(
        json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    )
    return path
