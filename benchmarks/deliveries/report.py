"""The deliveries' figures as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import FOLDER
from benchmarks.turns.report import percentile_ms

_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_WORDS = """\
One of ten tenants has a webhook whose receiver takes connections and never answers, with 100,000
deliveries due, and beside it one that listens, with 100,000 deliveries due in the next three days.
A claim is the transaction in which a job finds an endpoint's next delivery and marks the endpoint
as busy, a note the one that keeps what came of it. The first attempt is from an event's commit to
its receipt, at the endpoints that listen, with the product's own worker. Everything shares the
machine.
"""


@dataclass(frozen=True)
class Figure:
    """One line: seconds of each, and what the 95th percentile in milliseconds is wanted to be."""

    name: str
    took_s: Sequence[float]
    wanted_ms: float | None = None

    @property
    def milliseconds(self) -> dict[str, float]:
        return {at: round(percentile_ms(self.took_s, share), 1) for at, share in _SHARES.items()}

    @property
    def met(self) -> bool:
        return self.wanted_ms is None or self.milliseconds["p95"] <= self.wanted_ms


def table(figures: Sequence[Figure]) -> str:
    """A line of percentiles for each, and what was wanted."""
    lines = [
        "| ms | times | p50 | p95 | p99 | wanted | met |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in figures:
        wanted = ("–", "–") if one.wanted_ms is None else (f"p95 ≤ {one.wanted_ms:g}", _met(one))
        cells = (one.name, str(len(one.took_s)), *map(str, one.milliseconds.values()), *wanted)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write(figures: Sequence[Figure], facts: Mapping[str, Any]) -> Path:
    """Keep the results; the Markdown file's path."""
    FOLDER.mkdir(exist_ok=True)
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    page = f"# A dead receiver, and the others\n\n{_WORDS}\n{table(figures)}\n\n{told}\n"
    path = FOLDER / "deliveries.md"
    path.write_text(page)
    milliseconds = {one.name: {**one.milliseconds, "met": one.met} for one in figures}
    summary = {"facts": dict(facts), "milliseconds": milliseconds}
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    (FOLDER / "deliveries.json").write_text(f"{text}\n")
    return path


def _met(one: Figure) -> str:
    return "yes" if one.met else "no"
