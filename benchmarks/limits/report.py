"""Format the results of the limits benchmark as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import RESULTS_FOLDER

MAX_RATIO = 1.20
_INTRODUCTION = """\
Cost: CPU of web server and Postgres per `GET /api/tenants/{tenant_id}/phone-numbers` with limits
that no tenant reaches, divided by the same without limits in the adjacent round. Rejected requests
are those of one tenant, sent as fast as they are answered. Neighbours: the 95th percentile of a
tenant with a steady pace while another tenant sends ten times its own limit, divided by the same
while it is alone. All ratios are the median of the rounds, with the minimum and the maximum.
"""


@dataclass
class LimitsResult:
    """The rounds of a run: CPU per request and 95th percentiles, both in milliseconds."""

    cpu_without: list[float] = field(default_factory=list)
    cpu_with: list[float] = field(default_factory=list)
    cpu_refused: list[float] = field(default_factory=list)
    single_tenant: list[float] = field(default_factory=list)
    with_busy_tenant: list[float] = field(default_factory=list)
    unlimited: list[float] = field(default_factory=list)
    errors: int = 0

    def ratios(self) -> dict[str, list[float]]:
        """Return the ratios of each round, by their description."""
        return {
            "a request with limits, × without": _pairwise_ratios(self.cpu_with, self.cpu_without),
            "one that is refused, × one that is served": _pairwise_ratios(
                self.cpu_refused, self.cpu_with
            ),
            "p95 beside a tenant at ten times its limit, × alone": _pairwise_ratios(
                self.with_busy_tenant, self.single_tenant
            ),
            "the same without limits": _pairwise_ratios(self.unlimited, self.single_tenant),
        }


def format_table(results: LimitsResult) -> str:
    """Return a table with one line for each ratio."""
    lines = ["| | median (min–max) | target |", "|---|---:|---:|"]
    for name, ratios in results.ratios().items():
        target = f"≤ {MAX_RATIO:.2f}" if "beside" in name else "–"
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        lines.append(f"| {name} | **{median(ratios):.2f}** ({spread}) | {target} |")
    return "\n".join(lines)


def write_results(results: LimitsResult, facts: Mapping[str, Any]) -> Path:
    """Write the results; return the path of the Markdown file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = RESULTS_FOLDER / "limits.md"
    path.write_text(f"# Rate limits\n\n{_INTRODUCTION}\n{format_table(results)}\n\n{fact_lines}\n")
    summary = {"facts": dict(facts), "ratios": results.ratios(), "rounds": asdict(results)}
    (RESULTS_FOLDER / "limits.json").write_text(
        json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    )
    return path


def _pairwise_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    return [
        round(numerator / denominator, 4)
        for numerator, denominator in zip(numerators, denominators, strict=True)
    ]
