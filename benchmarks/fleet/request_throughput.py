"""Load the list of phone numbers, at all tenants and at few, with roles and without."""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import median
from time import monotonic

from benchmarks import load, requests, round_runner, web
from benchmarks.fleet.report import FleetFigure
from benchmarks.fleet.tenant_population import TenantMember, TenantPopulation
from benchmarks.load import LoadPlan, LoadResult
from benchmarks.postgres import BenchmarkDatabase
from benchmarks.report import RoundResult
from benchmarks.web import WebServer

_ZIPF_EXPONENT = 1.1
_DRAW_COUNT = 100_000
_ROUND_COUNT, _ROUND_S = 9, 3.0
# After the warm-up the connections of a pool have served most of the requested tenants. As long as
# this takes, they still see new tenants.
_WARM_UP_S = {"few": 5.0, "all": 140.0}
_MIN_SHARES = {"zipf": 0.9, "uniform": 0.6}
_DISTRIBUTION_NAMES = {"zipf": f"by Zipf({_ZIPF_EXPONENT})", "uniform": "uniformly at random"}


@dataclass(frozen=True)
class RandomTenantRequests:
    """Requests to randomly drawn tenants; the draws are the same in every run."""

    prepared: Sequence[bytes]
    draws: Sequence[int]

    def __call__(self, index: int) -> bytes:
        """Return the request that was drawn for this index."""
        return self.prepared[self.draws[index % len(self.draws)]]


@dataclass
class _Variant:
    """One distribution of requests on one database, and its rounds."""

    server: WebServer
    postgres: BenchmarkDatabase
    requests: RandomTenantRequests
    sent_requests: int = 0
    rounds: list[RoundResult] = field(default_factory=list)

    def run_round(self, run_load: Callable[[LoadPlan], LoadResult], seconds: float) -> RoundResult:
        plan = LoadPlan(self.server.port, seconds, self.sent_requests, self.requests)
        result = round_runner.measure_round(self.server, self.postgres, run_load, plan)
        self.sent_requests += result.requests + load.CONNECTIONS
        return result


def measure_requests(
    population: TenantPopulation,
    small_population: TenantPopulation,
    environs: Sequence[Callable[[BenchmarkDatabase], dict[str, str]]],
    ends_at: float,
    print_progress: Callable[[str], None],
) -> list[FleetFigure]:
    """Return the throughput at all tenants as a share of that at few, the median of the rounds.

    `environs` are functions that return the settings, the first with roles, the second without.
    """
    figures = []
    with load.load_process() as run_load:
        for roles, environ in zip(("on", "off"), environs, strict=True):
            for distribution in _MIN_SHARES:
                if monotonic() > ends_at:
                    print_progress(f"out of time: requests with roles {roles}, {distribution}")
                    break
                # New servers: a pool that has just served other tenants would be cold.
                with _serve_variants(
                    population, small_population, environ, distribution
                ) as variants:
                    _load_variants(
                        variants, run_load, f"roles {roles}, {distribution}", print_progress
                    )
                    figures.append(
                        _throughput_figure(variants, distribution, roles, len(population.members))
                    )
    return figures


def _load_variants(
    variants: dict[str, _Variant],
    run_load: Callable[[LoadPlan], LoadResult],
    label: str,
    print_progress: Callable[[str], None],
) -> None:
    for size, variant in variants.items():
        variant.run_round(run_load, _WARM_UP_S[size])
    for number in range(_ROUND_COUNT):
        for size, variant in list(variants.items())[:: 1 if number % 2 == 0 else -1]:
            result = variant.run_round(run_load, _ROUND_S)
            variant.rounds.append(result)
            summary = f"{result.cpu_ms:.2f} ms CPU, {result.requests_per_s:.0f} requests/s"
            print_progress(f"{label}, {size}: {summary}")
            if result.errors:
                raise RuntimeError(f"{result.errors} requests failed")


@contextmanager
def _serve_variants(
    population: TenantPopulation,
    small_population: TenantPopulation,
    environ: Callable[[BenchmarkDatabase], dict[str, str]],
    distribution: str,
) -> Iterator[dict[str, _Variant]]:
    """Serve the small and the large database, each with its own web server."""
    with ExitStack() as stack:
        variants = {}
        for name, tenants in (("few", small_population), ("all", population)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(
                web.serve_app("wsgi:app", environ(tenants.postgres), folder)
            )
            variants[name] = _Variant(
                server, tenants.postgres, _random_requests(tenants.members, distribution)
            )
        yield variants


def _random_requests(members: Sequence[TenantMember], distribution: str) -> RandomTenantRequests:
    rng = random.Random(distribution)
    # How often a tenant is visited must not depend on its age.
    shuffled = rng.sample(list(members), len(members))
    weights = [
        1 / rank**_ZIPF_EXPONENT if distribution == "zipf" else 1
        for rank in range(1, len(members) + 1)
    ]
    draws = rng.choices(range(len(members)), cum_weights=list(accumulate(weights)), k=_DRAW_COUNT)
    prepared = [
        requests.encode_request(
            "GET",
            f"/api/tenants/{member.id}/phone-numbers",
            {"Authorization": f"Bearer {member.key}"},
        )
        for member in shuffled
    ]
    return RandomTenantRequests(prepared, draws)


def _throughput_figure(
    variants: dict[str, _Variant], distribution: str, roles: str, tenants: int
) -> FleetFigure:
    all_rounds, small_rounds = (variants[size].rounds for size in ("all", "few"))
    shares = [
        all_round.requests_per_s / small_round.requests_per_s
        for all_round, small_round in zip(all_rounds, small_rounds, strict=True)
    ]
    return FleetFigure(
        f"list of numbers, visited {_DISTRIBUTION_NAMES[distribution]}, roles {roles}, "
        "compared with ten tenants",
        tenants,
        _format_rounds(all_rounds),
        _format_rounds(small_rounds),
        median(shares),
        _MIN_SHARES[distribution],
        at_least=True,
        spread=f"({min(shares):.2f}–{max(shares):.2f})",
    )


def _format_rounds(measured_rounds: Sequence[RoundResult]) -> str:
    per_s = median(measured.requests_per_s for measured in measured_rounds)
    cpu_ms = median(measured.cpu_ms for measured in measured_rounds)
    return f"{per_s:.0f} requests/s, {cpu_ms:.2f} ms CPU"
