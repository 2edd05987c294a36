"""The fleet's figures as a table, as a picture and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS_FOLDER

_HEAD = (
    "| what | tenants | VCA | beside it | figure | wanted | met |\n"
    "|---|---:|---:|---:|---:|---:|---|"
)
_INTRODUCTION = """\
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
_ROW_HEIGHT, _LABEL_WIDTH, _TARGET_WIDTH = 26, 560, 150


@dataclass(frozen=True)
class FleetFigure:
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
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def share_of_limit(self) -> float:
        """How much of what is allowed it takes: at most 1 where the target is met."""
        return self.limit / self.value if self.at_least else max(self.value, 0) / self.limit

    def format_target(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"

    def format_row(self) -> str:
        cells = [
            self.what,
            f"{self.tenants:,}",
            self.ours,
            self.beside,
            f"**{self.value:.2f} {self.unit}** {self.spread}".rstrip(),
            self.format_target(),
            "yes" if self.is_met else "no",
        ]
        return f"| {' | '.join(cells)} |"


def format_table(figures: Sequence[FleetFigure]) -> str:
    """One line for each figure."""
    return "\n".join([_HEAD, *(figure.format_row() for figure in figures)])


def write_results(figures: Sequence[FleetFigure], facts: Mapping[str, Any]) -> Path:
    """Keep the results; the Markdown file's path."""
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = RESULTS_FOLDER / "fleet.md"
    picture = "![Each figure as a share of what is allowed](fleet.svg)"
    path.write_text(
        f"# The fleet\n\n{_INTRODUCTION}\n{format_table(figures)}\n\n{picture}\n\n{fact_lines}\n"
    )
    (RESULTS_FOLDER / "fleet.svg").write_text(render_svg(figures))
    results = {
        "facts": dict(facts),
        "figures": [{**asdict(figure), "met": figure.is_met} for figure in figures],
    }
    (RESULTS_FOLDER / "fleet.json").write_text(
        json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    )
    return path


def render_svg(figures: Sequence[FleetFigure]) -> str:
    """A bar for each figure as a share of what is allowed; the line is the target."""
    height = _ROW_HEIGHT * (len(figures) + 1)
    bars = []
    for index, figure in enumerate(figures):
        y = _ROW_HEIGHT * index + 6
        label = escape(
            f"{figure.what.partition(':')[0].partition(', beside')[0]}, {figure.tenants:,}"
        )
        width = min(figure.share_of_limit, 2.2) * _TARGET_WIDTH
        colour = "#2a7f4f" if figure.is_met else "#b3402e"
        bars.append(
            f'<text x="{_LABEL_WIDTH - 8}" y="{y + 13}" text-anchor="end">{label}</text>'
            f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{width:.0f}" height="16" fill="{colour}"/>'
            f'<text x="{_LABEL_WIDTH + width + 6:.0f}" y="{y + 13}">'
            f"{figure.value:.2f} {figure.unit} (wanted {figure.format_target()})</text>"
        )
    target = _LABEL_WIDTH + _TARGET_WIDTH
    line = (
        f'<path d="M{target} 0V{height - _ROW_HEIGHT // 2}" stroke="#333" stroke-dasharray="4 3"/>'
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg"'
        f' width="{_LABEL_WIDTH + 2.2 * _TARGET_WIDTH + 210:.0f}"'
        f' height="{height}" font-family="sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(bars)}{line}</svg>\n'
    )
