"""The limits' figures as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import FOLDER

MOST = 1.20
_WORDS = """\
Cost: CPU of web server and Postgres per `GET T/phone-numbers` with limits that nobody meets, by the
same without limits, in the round beside it; a refused one is of a tenant alone, as fast as it is
answered. Neighbours: the 95th percentile of a tenant that asks at a steady pace while another asks
at ten times that one's limit, by the same while it is alone. All ratios are the median of the
rounds, and the least and the greatest.
"""


@dataclass
class Measured:
    """The rounds of a run: CPU per request in milliseconds, 95th percentiles in milliseconds."""

    cpu_without: list[float] = field(default_factory=list)
    cpu_with: list[float] = field(default_factory=list)
    cpu_refused: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    unlimited: list[float] = field(default_factory=list)
    errors: int = 0

    def ratios(self) -> dict[str, list[float]]:
        """Round by round."""
        return {
            "a request with limits, × without": _by(self.cpu_with, self.cpu_without),
            "one that is refused, × one that is served": _by(self.cpu_refused, self.cpu_with),
            "p95 beside a tenant at ten times its limit, × alone": _by(self.beside, self.alone),
            "the same without limits": _by(self.unlimited, self.alone),
        }


def table(measured: Measured) -> str:
    """A line for each ratio."""
    lines = ["| | median (min–max) | wanted |", "|---|---:|---:|"]
    for name, found in measured.ratios().items():
        wanted = f"≤ {MOST:.2f}" if "beside" in name else "–"
        spread = f"{min(found):.2f}–{max(found):.2f}"
        lines.append(f"| {name} | **{median(found):.2f}** ({spread}) | {wanted} |")
    return "\n".join(lines)


def write(measured: Measured, facts: Mapping[str, Any]) -> Path:
    """Keep the results; the Markdown file's path."""
    FOLDER.mkdir(exist_ok=True)
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = FOLDER / "limits.md"
    path.write_text(f"# Rate limits\n\n{_WORDS}\n{table(measured)}\n\n{told}\n")
    summary = {"facts": dict(facts), "ratios": measured.ratios(), "rounds": asdict(measured)}
    (FOLDER / "limits.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return path


def _by(these: Sequence[float], those: Sequence[float]) -> list[float]:
    return [round(one / other, 4) for one, other in zip(these, those, strict=True)]
