"""The results as a table for people and as JSON for programs."""

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

FOLDER = Path(__file__).resolve().parent / "results"
_LIBRARIES = ("Flask", "flask-smorest", "SQLAlchemy", "psycopg2-binary", "gunicorn")
_HEAD = (
    "| target | CPU ms/request | app | Postgres | × beside, median (min–max) | × hello |"
    " requests/s | p50 ms | p99 ms | requests | errors |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)
_WORDS = """\
CPU per request: user and system time of all gunicorn processes and of the whole Postgres cluster,
divided by the requests answered. × beside: VCA's CPU per request divided by the hand-written
app's, and of a call through Twilio by that through the fake carrier, in the round beside it, the
median of all rounds, and the least and the greatest; × hello likewise, beside a bare Flask page.
All else: the median round. Latencies contain the waiting of {connections} connections for the two
cores that they share with the load and the database.
"""


@dataclass(frozen=True)
class Round:
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
        return self.app_ms + self.postgres_ms


@dataclass
class Target:
    """All rounds of one target. `floor` names the target of the hand-written version."""

    name: str
    title: str
    floor: str | None = None
    rounds: list[Round] = field(default_factory=list)

    def middle(self, figure: str) -> float:
        """The median round's figure."""
        return float(median(getattr(one, figure) for one in self.rounds))


def ratios(target: Target, floor: Target) -> list[float]:
    """The CPU per request as a multiple of the floor's, round by round."""
    pairs = zip(target.rounds, floor.rounds, strict=True)
    return [one.cpu_ms / other.cpu_ms for one, other in pairs]


def write(targets: Sequence[Target], facts: dict[str, Any]) -> Path:
    """Keep the results; the Markdown file's path."""
    FOLDER.mkdir(exist_ok=True)
    summary = {"facts": facts, "targets": [_as_dict(target, targets) for target in targets]}
    (FOLDER / "requests.json").write_text(json.dumps(summary, indent=2) + "\n")
    path = FOLDER / "requests.md"
    path.write_text(markdown(targets, facts))
    return path


def markdown(targets: Sequence[Target], facts: dict[str, Any]) -> str:
    """The page for people."""
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    words = _WORDS.format(connections=facts["connections"])
    return f"# CPU per request\n\n{words}\n{table(targets)}\n\n{told}\n"


def table(targets: Sequence[Target]) -> str:
    """One line for each target."""
    return "\n".join([_HEAD, *(_line(target, targets) for target in targets)])


def facts(**run: Any) -> dict[str, Any]:
    """What kind of machine and software this is, and how it was asked; never a host's name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}",
        "Python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        **run,
    }


def _line(target: Target, targets: Sequence[Target]) -> str:
    by_name = {one.name: one for one in targets}
    cells = [
        target.title,
        f"{target.middle('cpu_ms'):.2f}",
        f"{target.middle('app_ms'):.2f}",
        f"{target.middle('postgres_ms'):.2f}",
        _times(target, by_name.get(target.floor or "")),
        _times(target, by_name.get("hello"), spread=False),
        f"{target.middle('requests_per_s'):.0f}",
        f"{target.middle('p50_ms'):.1f}",
        f"{target.middle('p99_ms'):.1f}",
        str(sum(one.requests for one in target.rounds)),
        str(sum(one.errors for one in target.rounds)),
    ]
    return f"| {' | '.join(cells)} |"


def _times(target: Target, floor: Target | None, *, spread: bool = True) -> str:
    if floor is None or floor is target:
        return "–"
    found = ratios(target, floor)
    middle = f"{median(found):.2f}" if spread else f"{median(found):.1f}"
    return f"**{middle}** ({min(found):.2f}–{max(found):.2f})" if spread else middle


def _as_dict(target: Target, targets: Sequence[Target]) -> dict[str, Any]:
    floor = next((one for one in targets if one.name == target.floor), None)
    figures = ("cpu_ms", "app_ms", "postgres_ms", "requests_per_s", "p50_ms", "p99_ms")
    return {
        "name": target.name,
        "title": target.title,
        "median": {figure: round(target.middle(figure), 4) for figure in figures},
        "ratio_to_by_hand": median(ratios(target, floor)) if floor else None,
        "ratios_to_by_hand": ratios(target, floor) if floor else None,
        "rounds": [asdict(one) for one in target.rounds],
    }
