"""Compare the CPU per request of this checkout with that of another revision, in alternate rounds.

Both run with the libraries of this checkout's environment.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import builds, load, postgres, requests, round_runner, web
from benchmarks.builds import Build, BuildTenant
from benchmarks.load import LoadPlan, LoadResult, RequestRotation, Requests
from benchmarks.postgres import ROOT, BenchmarkDatabase
from benchmarks.progress import print_progress
from benchmarks.report import RESULTS_FOLDER, RoundResult
from benchmarks.requests import FakeCarrierCalls
from benchmarks.web import WebServer

# More than a round's requests, so that no call id occurs twice.
_INDICES_PER_ROUND = 1_000_000
# A tenant may have 200 profiles, and each POST creates one.
TENANTS = 60
TARGETS = {
    "GET": "GET phone-numbers",
    "call": "inbound call",
    "POST": "POST ai-profiles",
    "explain": "POST routing/explain, which writes nothing",
}
_NUMBERS = tuple(f"+44207001{index:04}" for index in range(TENANTS))
_PROFILE = {"system_prompt": "You answer the telephone of a small firm. Be brief and kind."}
_INTRODUCTION = """\
CPU per request: user and system time of all gunicorn processes and of the whole Postgres cluster,
divided by the requests answered. Ratio: this code divided by the other revision, in adjacent
rounds; the median of all rounds, with the minimum and the maximum.
"""


@dataclass(frozen=True)
class RequestComparison:
    """The rounds of this code and of the other revision with one request, in the same order."""

    name: str
    rounds: Sequence[RoundResult]
    other_rounds: Sequence[RoundResult]

    @property
    def ratios(self) -> list[float]:
        """The CPU per request of this code divided by the other revision's, round by round."""
        pairs = zip(self.rounds, self.other_rounds, strict=True)
        return [measured.cpu_ms / other.cpu_ms for measured, other in pairs]

    @property
    def errors(self) -> int:
        """The errors of both builds."""
        return sum(measured.errors for measured in (*self.rounds, *self.other_rounds))


@dataclass(frozen=True)
class _RunningBuild:
    build: Build
    server: WebServer
    database: BenchmarkDatabase
    requests: Mapping[str, Requests]


def compare_with(
    commit: str, environ: Mapping[str, str], *, rounds: int, seconds: float
) -> list[RequestComparison]:
    """Load this checkout and `commit` alternately, `seconds` for each round."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres.serve_database())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run_load = stack.enter_context(load.load_process())
        sources = {"now": ROOT, "other": stack.enter_context(builds.check_out(commit))}
        running = [
            _start_build(
                stack,
                builds.create_build(name, source, database.dsn, dict(environ)),
                database,
                folder,
            )
            for name, source in sources.items()
        ]
        return [_compare(name, running, run_load, rounds, seconds) for name in TARGETS]


def format_comparisons(comparisons: Sequence[RequestComparison]) -> str:
    """Return a table with one line for each request."""
    lines = [
        "| request | CPU ms: app + Postgres | other code | ratio, median (min–max) | errors |",
        "|---|---:|---:|---:|---:|",
    ]
    for compared in comparisons:
        ratios = compared.ratios
        cells = (
            TARGETS[compared.name],
            _format_cpu(compared.rounds),
            _format_cpu(compared.other_rounds),
            f"**{median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})",
            str(compared.errors),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_cpu(rounds: Sequence[RoundResult]) -> str:
    app_ms = median(measured.app_ms for measured in rounds)
    return f"{app_ms:.2f} + {median(measured.postgres_ms for measured in rounds):.2f}"


def write_comparisons(comparisons: Sequence[RequestComparison], facts: Mapping[str, Any]) -> Path:
    """Write the comparison; return the path of the Markdown file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    fact_lines = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    path = RESULTS_FOLDER / "requests-comparison.md"
    path.write_text(
        f"# CPU per request, compared with another revision\n\n{_INTRODUCTION}\n"
        f"{format_comparisons(comparisons)}\n\n{fact_lines}\n"
    )
    summary = {
        "facts": dict(facts),
        "requests": {compared.name: {"ratios": compared.ratios} for compared in comparisons},
    }
    path.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n")
    return path


def _start_build(
    stack: ExitStack, build: Build, database: BenchmarkDatabase, folder: Path
) -> _RunningBuild:
    server = stack.enter_context(
        web.serve_app("wsgi:app", build.environ, folder, source=build.source)
    )
    print_progress(f"creating {TENANTS} tenants of {build.name}")
    tenants = builds.create_tenants(build, server.port, _NUMBERS)
    own_database = replace(database, dsn=build.environ["MIGRATION_DATABASE_URL"])
    return _RunningBuild(build, server, own_database, _requests_of(build, tenants))


def _requests_of(build: Build, tenants: Sequence[BuildTenant]) -> dict[str, Requests]:
    def encode(method: str, path: str, body: bytes = b"") -> RequestRotation:
        content_type = {"Content-Type": "application/json"} if body else {}
        return RequestRotation(
            [
                requests.encode_request(
                    method,
                    f"/api/tenants/{tenant.id}/{path}",
                    {"Authorization": f"Bearer {tenant.api_key}", **content_type},
                    body,
                )
                for tenant in tenants
            ]
        )

    return {
        "GET": encode("GET", "phone-numbers"),
        "call": FakeCarrierCalls(
            build.environ["SECRET_KEY"], build.environ["PUBLIC_BASE_URL"], build.name, _NUMBERS
        ),
        "POST": encode("POST", "ai-profiles", json.dumps(_PROFILE).encode()),
        "explain": encode("POST", "routing/explain", b'{"to": "%s"}' % _NUMBERS[0].encode()),
    }


def _compare(
    name: str,
    running: Sequence[_RunningBuild],
    run_load: Callable[[LoadPlan], LoadResult],
    rounds: int,
    seconds: float,
) -> RequestComparison:
    results: list[list[RoundResult]] = [[] for _ in running]
    for number in range(rounds + 1):  # the first one warms up
        order = list(enumerate(running))
        for index, build in order if number % 2 == 0 else reversed(order):
            first_index = number * _INDICES_PER_ROUND
            plan = LoadPlan(build.server.port, seconds, first_index, build.requests[name])
            result = round_runner.measure_round(build.server, build.database, run_load, plan)
            print_progress(
                f"{TARGETS[name]}, round {number}: {build.build.name}, {result.cpu_ms:.2f} ms CPU"
            )
            results[index].append(result)
    return RequestComparison(name, *(result[1:] for result in results))
