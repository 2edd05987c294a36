"""The list of phone numbers under load, at all tenants and at a few, with roles and without."""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import median
from time import monotonic

from benchmarks import load, requests, rounds, web
from benchmarks.fleet.crowd import Crowd, Member
from benchmarks.fleet.report import Figure
from benchmarks.load import Order, Outcome
from benchmarks.postgres import Postgres
from benchmarks.report import Round
from benchmarks.web import Web

_EXPONENT = 1.1
_DRAWS = 100_000
_ROUNDS, _SECONDS = 9, 3.0
# All of a pool's connections are open by then and know most of what is asked; as long as this goes
# on, they still learn.
_WARM_UP_S = {"few": 5.0, "all": 140.0}
_LIMITS = {"zipf": 0.9, "uniform": 0.6}
_WORDS = {"zipf": f"by Zipf({_EXPONENT})", "uniform": "uniformly at random"}


@dataclass(frozen=True)
class Visits:
    """Each request is another draw of a tenant; the same draws in every run."""

    asked: Sequence[bytes]
    draws: Sequence[int]

    def __call__(self, index: int) -> bytes:
        return self.asked[self.draws[index % len(self.draws)]]


@dataclass
class _Line:
    """One way of visiting one database, and its rounds."""

    served: Web
    postgres: Postgres
    visits: Visits
    sent: int = 0
    rounds: list[Round] = field(default_factory=list)

    def run(self, generate: Callable[[Order], Outcome], seconds: float) -> Round:
        order = Order(self.served.port, seconds, self.sent, self.visits)
        found = rounds.run(self.served, self.postgres, generate, order)
        self.sent += found.requests + load.CONNECTIONS
        return found


def measure(
    crowd: Crowd,
    few: Crowd,
    environs: Sequence[Callable[[Postgres], dict[str, str]]],
    ends_at: float,
    say: Callable[[str], None],
) -> list[Figure]:
    """Throughput at all tenants as a share of that at a few, round by round; medians.

    `environs` are the settings with roles, and without.
    """
    figures = []
    with load.generator() as generate:
        for roles, environ in zip(("on", "off"), environs, strict=True):
            for how in _LIMITS:
                if monotonic() > ends_at:
                    say(f"out of time: requests with roles {roles}, {how}")
                    break
                # Servers of their own: a pool that has just seen others would be measured cold.
                with _lines(crowd, few, environ, how) as lines:
                    _load(lines, generate, f"roles {roles}, {how}", say)
                    figures.append(_figure(lines, how, roles, len(crowd.members)))
    return figures


def _load(
    lines: dict[str, _Line],
    generate: Callable[[Order], Outcome],
    what: str,
    say: Callable[[str], None],
) -> None:
    for size, line in lines.items():
        line.run(generate, _WARM_UP_S[size])
    for number in range(_ROUNDS):
        for size, line in list(lines.items())[:: 1 if number % 2 == 0 else -1]:
            found = line.run(generate, _SECONDS)
            line.rounds.append(found)
            told = f"{found.cpu_ms:.2f} ms CPU, {found.requests_per_s:.0f} requests/s"
            say(f"{what}, {size}: {told}")
            if found.errors:
                raise RuntimeError(f"{found.errors} requests failed")


@contextmanager
def _lines(
    crowd: Crowd, few: Crowd, environ: Callable[[Postgres], dict[str, str]], how: str
) -> Iterator[dict[str, _Line]]:
    """The few and all, each with a server of its own."""
    with ExitStack() as stack:
        lines = {}
        for name, each in (("few", few), ("all", crowd)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            app = stack.enter_context(web.served("wsgi:app", environ(each.postgres), folder))
            lines[name] = _Line(app, each.postgres, _visits(each.members, how))
        yield lines


def _visits(members: Sequence[Member], how: str) -> Visits:
    chance = random.Random(how)
    # Which tenants are visited often has nothing to do with their age.
    shuffled = chance.sample(list(members), len(members))
    weights = [1 / rank**_EXPONENT if how == "zipf" else 1 for rank in range(1, len(members) + 1)]
    draws = chance.choices(range(len(members)), cum_weights=list(accumulate(weights)), k=_DRAWS)
    asked = [
        requests.raw(
            "GET", f"/api/tenants/{one.id}/phone-numbers", {"Authorization": f"Bearer {one.key}"}
        )
        for one in shuffled
    ]
    return Visits(asked, draws)


def _figure(lines: dict[str, _Line], how: str, roles: str, tenants: int) -> Figure:
    ours, beside = (lines[size].rounds for size in ("all", "few"))
    shares = [
        one.requests_per_s / other.requests_per_s for one, other in zip(ours, beside, strict=True)
    ]
    return Figure(
        f"list of numbers, visited {_WORDS[how]}, roles {roles}, beside ten tenants",
        tenants,
        _told(ours),
        _told(beside),
        median(shares),
        _LIMITS[how],
        at_least=True,
        spread=f"({min(shares):.2f}–{max(shares):.2f})",
    )


def _told(rounds_: Sequence[Round]) -> str:
    per_s = median(one.requests_per_s for one in rounds_)
    return f"{per_s:.0f} requests/s, {median(one.cpu_ms for one in rounds_):.2f} ms CPU"
