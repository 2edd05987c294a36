"""Format the results of the fleet benchmark as a table, a chart and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS_FOLDER

_HEAD = (
    "| what | tenants | VCA | baseline | figure | target | met |\n"
    "|---|---:|---:|---:|---:|---:|---|"
)
_INTRODUCTION = """\
VCA and the baseline of a line were measured in one run on one server, alternating. Both columns
show medians. The figure is the median of the ratios of adjacent measurements, with the minimum and
the maximum. Exceptions: opening a tenant session is the minimum of thirty blocks, and the idle
migration is the minimum of five runs. CPU is that of the web server and the database together. The
small database that the requests are compared with is on the same server, with its own logins,
because role membership belongs to the server. Raw SQL records the revision of a migration too. With
roles off the web logs in as the owner, who needs none. Throughput is that of gunicorn with two
workers on the two cores that it shares with the load and the database, after a warm-up of 140
seconds, when connections still see new tenants. The use of a key is recorded once in ten minutes.
"""
_ROW_HEIGHT, _LABEL_WIDTH, _TARGET_WIDTH = 26, 560, 150


@dataclass(frozen=True)
class FleetFigure:
    """One result: `value` and its target, which is a maximum, or a minimum if `at_least`.

    `spread` is the range of the rounds.
    """

    name: str
    tenants: int
    measured: str
    compared_with: str
    value: float
    limit: float
    unit: str = "×"
    at_least: bool = False
    spread: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the value meets its target."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def share_of_limit(self) -> float:
        """The value as a share of its limit: at most 1 if the target is met."""
        return self.limit / self.value if self.at_least else max(self.value, 0) / self.limit

    def format_target(self) -> str:
        """Return the target as text, such as "≤ 2 MiB"."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"

    def format_row(self) -> str:
        """Return the figure as a row of a Markdown table."""
        cells = [
            self.name,
            f"{self.tenants:,}",
            self.measured,
            self.compared_with,
            f"**{self.value:.2f} {self.unit}** {self.spread}".rstrip(),
            self.format_target(),
            "yes" if self.is_met else "no",
        ]
        return f"| {' | '.join(cells)} |"


def format_table(figures: Sequence[FleetFigure]) -> str:
    """Return a table with one line for each figure."""
    return "\n".join([_HEAD, *(figure.format_row() for figure in figures)])


def write_results(figures: Sequence[FleetFigure], facts: Mapping[str, Any]) -> Path:
    """Write the results; return the path of the Markdown file."""
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = RESULTS_FOLDER / "fleet.md"
    picture = "![Each figure as a share of its limit](fleet.svg)"
    path.write_text(
        f"# Thousands of tenants\n\n{_INTRODUCTION}\n{format_table(figures)}\n\n{picture}\n\n"
        f"{fact_lines}\n"
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
    """Return a bar chart as SVG: each figure as a share of its limit, with a line at the target."""
    height = _ROW_HEIGHT * (len(figures) + 1)
    bars = []
    for index, figure in enumerate(figures):
        y = _ROW_HEIGHT * index + 6
        label = escape(
            f"{figure.name.partition(':')[0].partition(', compared with')[0]}, {figure.tenants:,}"
        )
        width = min(figure.share_of_limit, 2.2) * _TARGET_WIDTH
        colour = "#2a7f4f" if figure.is_met else "#b3402e"
        bars.append(
            f'<text x="{_LABEL_WIDTH - 8}" y="{y + 13}" text-anchor="end">{label}</text>'
            f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{width:.0f}" height="16" fill="{colour}"/>'
            f'<text x="{_LABEL_WIDTH + width + 6:.0f}" y="{y + 13}">'
            f"{figure.value:.2f} {figure.unit} (target {figure.format_target()})</text>"
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
