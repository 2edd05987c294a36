"""The turns' figures as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import FOLDER

WANTED_MS = 50.0
_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_WORDS = """\
A turn is from the carrier's signed request to the last byte of the answer. The model is what the
same turn took at the fake model's server: the first token after 300 ms, then one every 20 ms,
twenty in all. VCA's own share is the one less the other, turn by turn. The load, the model, the web
server and Postgres share the machine.
"""


@dataclass(frozen=True)
class Measured:
    """One run: seconds of each turn and of its model, in the same order.

    `answered` counts the turns before those too, as the CPU seconds do.
    """

    turns_s: Sequence[float]
    models_s: Sequence[float]
    elapsed_s: float
    answered: int
    errors: int
    web_cpu_s: float
    postgres_cpu_s: float

    @property
    def own_s(self) -> list[float]:
        pairs = zip(self.turns_s, self.models_s, strict=True)
        return [turn - model for turn, model in pairs]

    @property
    def met(self) -> bool:
        """Whether VCA's own share is what it should be, and nothing failed."""
        return percentile_ms(self.own_s, 0.95) <= WANTED_MS and not self.errors

    def figures(self) -> dict[str, dict[str, float]]:
        """Percentiles in milliseconds of a turn, of the model, and of what is VCA's own."""
        parts = {"turn": self.turns_s, "model": self.models_s, "VCA's own share": self.own_s}
        return {
            name: {at: round(percentile_ms(part, share), 1) for at, share in _SHARES.items()}
            for name, part in parts.items()
        }


def percentile_ms(values: Sequence[float], share: float) -> float:
    """What this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def table(measured: Measured) -> str:
    """Three lines of percentiles, and what was wanted."""
    lines = ["| ms | p50 | p95 | p99 | wanted | met |", "|---|---:|---:|---:|---:|---|"]
    for name, found in measured.figures().items():
        own = name not in ("turn", "model")
        wanted = (f"p95 ≤ {WANTED_MS:g}", "yes" if measured.met else "no") if own else ("–", "–")
        lines.append(f"| {' | '.join((name, *map(str, found.values()), *wanted))} |")
    return "\n".join(lines)


def more(measured: Measured) -> dict[str, object]:
    """What else the run has shown."""
    turns = len(measured.turns_s)
    return {
        "turns": f"{turns}, {turns / measured.elapsed_s:.1f} a second, {measured.errors} errors",
        "CPU": f"{measured.web_cpu_s * 1000 / measured.answered:.1f} ms a turn of the web server, "
        f"{measured.postgres_cpu_s * 1000 / measured.answered:.1f} ms of Postgres; rings and "
        "hang-ups are in it",
    }


def write(measured: Measured, facts: Mapping[str, Any]) -> Path:
    """Keep the results; the Markdown file's path."""
    FOLDER.mkdir(exist_ok=True)
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    page = f"# A turn, beyond the model\n\n{_WORDS}\n{table(measured)}\n\n{told}\n"
    path = FOLDER / "turns.md"
    path.write_text(page)
    summary = {"facts": dict(facts), "milliseconds": measured.figures(), "met": measured.met}
    (FOLDER / "turns.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path
