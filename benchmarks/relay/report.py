"""The socket's figures as a page and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import FOLDER
from benchmarks.turns.report import percentile_ms

WANTED_MS = 30.0
_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_WORDS = """\
From a caller's prompt on the wire to the first words on the wire back, turn by turn, beside what
the fake model took to its first token in the same turn: 300 ms. The overhead is the one less the
other. The callers, the model, both groups of gunicorn and Postgres share the machine.
"""


@dataclass(frozen=True)
class Measured:
    """One run: seconds to the first words and of the model, turn by turn, and all that failed."""

    first_s: Sequence[float]
    models_s: Sequence[float]
    sockets: int
    answered: int
    errors: int
    cpu_s: float

    @property
    def overhead_s(self) -> list[float]:
        return [first - model for first, model in zip(self.first_s, self.models_s, strict=True)]

    @property
    def met(self) -> bool:
        """Whether the overhead is what it should be, and nothing failed."""
        return percentile_ms(self.overhead_s, 0.95) <= WANTED_MS and not self.errors

    def figures(self) -> dict[str, dict[str, float]]:
        """Percentiles in milliseconds."""
        parts = {"first words": self.first_s, "model": self.models_s, "overhead": self.overhead_s}
        return {
            name: {at: round(percentile_ms(part, share), 1) for at, share in _SHARES.items()}
            for name, part in parts.items()
        }


def table(measured: Measured) -> str:
    """Three lines of percentiles, and what was wanted."""
    lines = ["| ms | p50 | p95 | p99 | wanted | met |", "|---|---:|---:|---:|---:|---|"]
    for name, found in measured.figures().items():
        own = name == "overhead"
        wanted = (f"p95 ≤ {WANTED_MS:g}", "yes" if measured.met else "no") if own else ("–", "–")
        lines.append(f"| {' | '.join((name, *map(str, found.values()), *wanted))} |")
    return "\n".join(lines)


def more(measured: Measured) -> dict[str, object]:
    """What else the run has shown."""
    return {
        "sockets": measured.sockets,
        "turns": f"{len(measured.first_s)} counted, {measured.errors} errors",
        "CPU": f"{measured.cpu_s * 1000 / measured.answered:.1f} ms a turn of the relay's group; "
        "handshakes are in it",
    }


def write(measured: Measured, facts: Mapping[str, Any]) -> Path:
    """Keep the results; the Markdown file's path."""
    FOLDER.mkdir(exist_ok=True)
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    page = f"# The first words through a socket\n\n{_WORDS}\n{table(measured)}\n\n{told}\n"
    path = FOLDER / "relay.md"
    path.write_text(page)
    summary = {"facts": dict(facts), "milliseconds": measured.figures(), "met": measured.met}
    (FOLDER / "relay.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path
