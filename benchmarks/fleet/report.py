"""The fleet's figures as a table, as a picture and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.report import FOLDER

_HEAD = (
    "| what | tenants | VCA | beside it | figure | wanted | met |\n"
    "|---|---:|---:|---:|---:|---:|---|"
)
_WORDS = """\
Everything of one line was measured in one run on one server, in turns. What is told of both are
medians; the figure is the median of the ratios of what stood beside each other, with the least and
the greatest; of the
guard the least of thirty blocks, of the idle migration the least of five runs. CPU is that of the
web server and the database together. The small database that the requests are compared with is on
the same server, with logins of its own, since membership in roles is the server's. Raw SQL to
migrate records the revision too. With roles off the web logs in as the owner, who needs none.
Throughputs are of gunicorn with two workers on the two cores that the load and the database share
with it, after 140 seconds of warming up, when connections still learn tenants; that a key
was used is noted once in ten minutes for each.
"""
_ROW, _LEFT, _UNIT = 26, 560, 150


@dataclass(frozen=True)
class Figure:
    """One result: `value` against what is wanted of it, the most or `at_least`.

    `spread` is from where to where the rounds lay.
    """

    what: str
    tenants: int
    ours: str
    beside: str
    value: float
    limit: float
    unit: str = "×"
    at_least: bool = False
    spread: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def used(self) -> float:
        """How much of what is allowed it takes: at most 1 where the target is met."""
        return self.limit / self.value if self.at_least else max(self.value, 0) / self.limit

    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"

    def row(self) -> str:
        cells = [
            self.what,
            f"{self.tenants:,}",
            self.ours,
            self.beside,
            f"**{self.value:.2f} {self.unit}** {self.spread}".rstrip(),
            self.wanted(),
            "yes" if self.met else "no",
        ]
        return f"| {' | '.join(cells)} |"


def table(figures: Sequence[Figure]) -> str:
    """One line for each figure."""
    return "\n".join([_HEAD, *(figure.row() for figure in figures)])


def write(figures: Sequence[Figure], facts: Mapping[str, Any]) -> Path:
    """Keep the results; the Markdown file's path."""
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = FOLDER / "fleet.md"
    picture = "![Each figure as a share of what is allowed](fleet.svg)"
    path.write_text(f"# The fleet\n\n{_WORDS}\n{table(figures)}\n\n{picture}\n\n{told}\n")
    (FOLDER / "fleet.svg").write_text(plot(figures))
    kept = {"facts": dict(facts), "figures": [{**asdict(one), "met": one.met} for one in figures]}
    (FOLDER / "fleet.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    return path


def plot(figures: Sequence[Figure]) -> str:
    """A bar for each figure as a share of what is allowed; the line is the target."""
    height = _ROW * (len(figures) + 1)
    bars = []
    for number, one in enumerate(figures):
        y = _ROW * number + 6
        words = escape(f"{one.what.partition(':')[0].partition(', beside')[0]}, {one.tenants:,}")
        wide = min(one.used, 2.2) * _UNIT
        colour = "#2a7f4f" if one.met else "#b3402e"
        bars.append(
            f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{words}</text>'
            f'<rect x="{_LEFT}" y="{y}" width="{wide:.0f}" height="16" fill="{colour}"/>'
            f'<text x="{_LEFT + wide + 6:.0f}" y="{y + 13}">'
            f"{one.value:.2f} {one.unit} (wanted {one.wanted()})</text>"
        )
    target = _LEFT + _UNIT
    line = f'<path d="M{target} 0V{height - _ROW // 2}" stroke="#333" stroke-dasharray="4 3"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + 2.2 * _UNIT + 210:.0f}"'
        f' height="{height}" font-family="sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(bars)}{line}</svg>\n'
    )
