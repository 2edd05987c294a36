"""Format the results of the neighbours benchmark as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.neighbours.quiet_tenant import RATES
from benchmarks.neighbours.runner import Round, ScenarioResult
from benchmarks.report import RESULTS_FOLDER
from benchmarks.turns.report import percentile_ms

P95_RATIO, P95_MARGIN_MS, P99_MS, DIAL_S = 1.5, 40.0, 500.0, 2.0
_INTRODUCTION = f"""\
A quiet tenant sends {", ".join(f"{rate:g} {kind}/s" for kind, rate in RATES.items())}, alone and
beside a busy client, in alternate rounds. Latencies are those of all of its requests; each figure
is the median of the rounds. Targets: p95 beside the busy client ≤ max({P95_RATIO:g} × alone,
alone + {P95_MARGIN_MS:g} ms), p99 ≤ {P99_MS:g} ms, no status of 500 or more, and every outbound
call dialled within {DIAL_S:g} s. The columns of errors and calls are totals of all rounds beside
the busy client. Both load generators share one of the cores with the service.
"""
_HEAD = (
    "| beside | p95 alone, ms | p95 beside, ms | limit, ms | p99 beside, ms | 5xx | "
    "other failures | outbound calls | not dialled | slowest dial, s | met | responses of the "
    "busy client |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|"
)


@dataclass(frozen=True)
class ScenarioFigures:
    """The figures of one scenario, in milliseconds, seconds and counts."""

    name: str
    p95_alone_ms: float
    p95_beside_ms: float
    p99_beside_ms: float
    server_errors: int
    other_failures: int
    outbound_calls: int
    undialled_calls: int
    slowest_dial_s: float
    busy_statuses: dict[str, int]

    @property
    def p95_limit_ms(self) -> float:
        """The target of the 95th percentile."""
        return max(P95_RATIO * self.p95_alone_ms, self.p95_alone_ms + P95_MARGIN_MS)

    @property
    def is_met(self) -> bool:
        """Whether all targets are met."""
        return (
            self.p95_beside_ms <= self.p95_limit_ms
            and self.p99_beside_ms <= P99_MS
            and not self.server_errors + self.other_failures + self.undialled_calls
            and self.slowest_dial_s <= DIAL_S
        )


def figures_of(result: ScenarioResult) -> ScenarioFigures:
    """Return the figures of a scenario's rounds."""
    loads = [measured.load for measured in result.neighbour_rounds]
    delays_s = [delay for measured in result.neighbour_rounds for delay in measured.dial_delays_s]
    statuses = sum(
        (measured.busy_statuses for measured in result.neighbour_rounds[1:]),
        start=(result.neighbour_rounds[0].busy_statuses),
    )
    server_errors = sum(load.server_errors for load in loads)
    return ScenarioFigures(
        name=result.name,
        p95_alone_ms=_median_percentile_ms(result.single_rounds, 0.95),
        p95_beside_ms=_median_percentile_ms(result.neighbour_rounds, 0.95),
        p99_beside_ms=_median_percentile_ms(result.neighbour_rounds, 0.99),
        server_errors=server_errors,
        other_failures=sum(load.unsuccessful_requests for load in loads) - server_errors,
        outbound_calls=len(delays_s),
        undialled_calls=delays_s.count(None),
        slowest_dial_s=round(max((delay for delay in delays_s if delay is not None), default=0), 2),
        busy_statuses={str(status): number for status, number in sorted(statuses.items())},
    )


def format_table(figures: Sequence[ScenarioFigures]) -> str:
    """Return a table with one line for each scenario."""
    return "\n".join([_HEAD, *map(_format_row, figures)])


def write_results(
    results: Sequence[ScenarioResult], figures: Sequence[ScenarioFigures], facts: Mapping[str, Any]
) -> Path:
    """Write the results; return the path of the Markdown file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = RESULTS_FOLDER / "neighbours.md"
    path.write_text(
        f"# Beside a busy client\n\n{_INTRODUCTION}\n{format_table(figures)}\n\n{fact_lines}\n"
    )
    scenarios = [
        {
            **vars(scenario),
            "p95_limit_ms": round(scenario.p95_limit_ms, 1),
            "met": scenario.is_met,
            "alone": [_summarize(measured) for measured in result.single_rounds],
            "beside": [_summarize(measured) for measured in result.neighbour_rounds],
        }
        for result, scenario in zip(results, figures, strict=True)
    ]
    summary = json.dumps({"facts": dict(facts), "scenarios": scenarios}, indent=2)
    (RESULTS_FOLDER / "neighbours.json").write_text(f"{summary}\n")
    return path


def _format_row(scenario: ScenarioFigures) -> str:
    statuses = ", ".join(
        f"{number} × {status}" for status, number in scenario.busy_statuses.items()
    )
    cells = (
        scenario.name,
        f"{scenario.p95_alone_ms:.1f}",
        f"{scenario.p95_beside_ms:.1f}",
        f"{scenario.p95_limit_ms:.1f}",
        f"{scenario.p99_beside_ms:.1f}",
        str(scenario.server_errors),
        str(scenario.other_failures),
        str(scenario.outbound_calls),
        str(scenario.undialled_calls),
        f"{scenario.slowest_dial_s:.2f}",
        "yes" if scenario.is_met else "no",
        statuses or "–",
    )
    return f"| {' | '.join(cells)} |"


def _summarize(measured: Round) -> dict[str, Any]:
    """Return the percentiles of a round in milliseconds, by kind of request, and its counts."""
    by_kind = {**measured.load.latencies_s, "all": measured.load.all_latencies_s}
    return {
        "milliseconds": {
            kind: {
                name: round(percentile_ms(latencies_s, share), 1)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
            }
            for kind, latencies_s in by_kind.items()
        },
        "statuses": dict(sorted(measured.load.statuses.items())),
        "failures": measured.load.failures[:5],
        "dial_delays_s": measured.dial_delays_s,
    }


def _median_percentile_ms(rounds: Sequence[Round], share: float) -> float:
    return round(
        median(percentile_ms(measured.load.all_latencies_s, share) for measured in rounds), 1
    )
