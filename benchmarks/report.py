"""Format the results as a Markdown table and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

RESULTS_FOLDER = Path(__file__).resolve().parent / "results"
_LIBRARIES = ("Flask", "flask-smorest", "SQLAlchemy", "psycopg2-binary", "gunicorn")
_HEAD = (
    "| target | CPU ms/request | app | Postgres | × baseline, median (min–max) | × hello |"
    " requests/s | p50 ms | p99 ms | requests | errors |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)
_INTRODUCTION = """\
CPU per request: user and system time of all gunicorn processes and of the whole Postgres cluster,
divided by the requests answered. × baseline: VCA's CPU per request divided by that of the
hand-written app in the adjacent round, and that of a call through Twilio by that through the fake
carrier; the median of all rounds, with the minimum and the maximum. × hello: the same ratio to a
bare Flask page. All other columns show the median of the rounds. Latencies include the time that
{connections} connections wait for the two cores that they share with the load and the database.
"""


@dataclass(frozen=True)
class RoundResult:
    """One target in one round; milliseconds are per request."""

    app_ms: float
    postgres_ms: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    errors: int

    @property
    def cpu_ms(self) -> float:
        """CPU time of application and database in milliseconds."""
        return self.app_ms + self.postgres_ms


@dataclass
class Target:
    """All rounds of one target. `baseline` names the target of the hand-written version."""

    name: str
    title: str
    baseline: str | None = None
    rounds: list[RoundResult] = field(default_factory=list)

    def median_of(self, figure: str) -> float:
        """Return the median of a figure over all rounds."""
        return float(median(getattr(measured, figure) for measured in self.rounds))


def cpu_ratios(target: Target, baseline: Target) -> list[float]:
    """Return the CPU per request as a multiple of the baseline's, round by round."""
    pairs = zip(target.rounds, baseline.rounds, strict=True)
    return [measured.cpu_ms / baseline_round.cpu_ms for measured, baseline_round in pairs]


def write_results(targets: Sequence[Target], facts: dict[str, Any]) -> Path:
    """Write the results; return the path of the Markdown file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    summary = {"facts": facts, "targets": [_as_dict(target, targets) for target in targets]}
    (RESULTS_FOLDER / "requests.json").write_text(json.dumps(summary, indent=2) + "\n")
    path = RESULTS_FOLDER / "requests.md"
    path.write_text(render_markdown(targets, facts))
    return path


def render_markdown(targets: Sequence[Target], facts: dict[str, Any]) -> str:
    """Return the Markdown page."""
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    introduction = _INTRODUCTION.format(connections=facts["connections"])
    return f"# CPU per request\n\n{introduction}\n{format_table(targets)}\n\n{fact_lines}\n"


def format_table(targets: Sequence[Target]) -> str:
    """Return a table with one line for each target."""
    return "\n".join([_HEAD, *(_format_row(target, targets) for target in targets)])


def run_facts(**extra: Any) -> dict[str, Any]:
    """Return facts about machine, software and run; never the host's name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}",
        "Python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        **extra,
    }


def _format_row(target: Target, targets: Sequence[Target]) -> str:
    by_name = {measured.name: measured for measured in targets}
    cells = [
        target.title,
        f"{target.median_of('cpu_ms'):.2f}",
        f"{target.median_of('app_ms'):.2f}",
        f"{target.median_of('postgres_ms'):.2f}",
        _format_ratio(target, by_name.get(target.baseline or "")),
        _format_ratio(target, by_name.get("hello"), with_spread=False),
        f"{target.median_of('requests_per_s'):.0f}",
        f"{target.median_of('p50_ms'):.1f}",
        f"{target.median_of('p99_ms'):.1f}",
        str(sum(measured.requests for measured in target.rounds)),
        str(sum(measured.errors for measured in target.rounds)),
    ]
    return f"| {' | '.join(cells)} |"


def _format_ratio(target: Target, baseline: Target | None, *, with_spread: bool = True) -> str:
    if baseline is None or baseline is target:
        return "–"
    ratios = cpu_ratios(target, baseline)
    middle = f"{median(ratios):.2f}" if with_spread else f"{median(ratios):.1f}"
    return f"**{middle}** ({min(ratios):.2f}–{max(ratios):.2f})" if with_spread else middle


def _as_dict(target: Target, targets: Sequence[Target]) -> dict[str, Any]:
    baseline = next((measured for measured in targets if measured.name == target.baseline), None)
    figures = ("cpu_ms", "app_ms", "postgres_ms", "requests_per_s", "p50_ms", "p99_ms")
    return {
        "name": target.name,
        "title": target.title,
        "median": {figure: round(target.median_of(figure), 4) for figure in figures},
        "ratio_to_by_hand": median(cpu_ratios(target, baseline)) if baseline else None,
        "ratios_to_by_hand": cpu_ratios(target, baseline) if baseline else None,
        "rounds": [asdict(measured) for measured in target.rounds],
    }
