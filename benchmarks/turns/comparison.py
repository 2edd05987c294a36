"""Compare the CPU per turn of this checkout with that of another revision, in alternate rounds.

Both run with the libraries of this checkout's environment.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias

from benchmarks import builds, postgres, request_cost, web
from benchmarks.builds import NUMBERS, Build
from benchmarks.postgres import ROOT
from benchmarks.progress import print_progress
from benchmarks.relay import callers as relay_callers
from benchmarks.relay.callers import RelayLoadPlan
from benchmarks.turns import callers, fake_model
from benchmarks.turns.callers import TurnLoadPlan
from benchmarks.turns.fake_model import AnswerShape, FakeModel
from benchmarks.web import WebServer

Transport: TypeAlias = Literal["HTTP", "relay"]
MAX_RATIO = 0.5
ROUNDS = 3
_WORKERS, _THREADS, _POOL = 2, 64, 16
_SECRET_KEY = request_cost.ENVIRON["SECRET_KEY"]


@dataclass(frozen=True)
class Scenario:
    """How the calls are carried and how many tokens an answer has."""

    transport: Transport
    tokens: int

    def __str__(self) -> str:
        return f"{self.transport}, {self.tokens} tokens"


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("HTTP", 20),
    Scenario("HTTP", 80),
    Scenario("relay", 20),
    Scenario("relay", 80),
)


@dataclass(frozen=True)
class Round:
    """One round of one build: CPU milliseconds per turn, the turns, and the errors."""

    cpu_ms: float
    turns: int
    errors: int


@dataclass(frozen=True)
class Comparison:
    """The rounds of this code and of the other revision in one scenario, in the same order."""

    scenario: Scenario
    rounds: Sequence[Round]
    other_rounds: Sequence[Round]

    @property
    def ratios(self) -> list[float]:
        """The CPU per turn of this code divided by the other revision's, round by round."""
        pairs = zip(self.rounds, self.other_rounds, strict=True)
        return [measured.cpu_ms / other.cpu_ms for measured, other in pairs]

    @property
    def cpu_ms(self) -> float:
        """The median CPU milliseconds per turn of this code."""
        return median(measured.cpu_ms for measured in self.rounds)

    @property
    def other_cpu_ms(self) -> float:
        """The median CPU milliseconds per turn of the other revision."""
        return median(measured.cpu_ms for measured in self.other_rounds)

    @property
    def errors(self) -> int:
        """The errors of both builds."""
        return sum(measured.errors for measured in (*self.rounds, *self.other_rounds))


def compare_with(commit: str, *, calls: int, seconds: float) -> list[Comparison]:
    """Run each scenario alternately with this checkout and with `commit`.

    `seconds` is the length of one round.
    """
    with ExitStack() as stack:
        dsn = stack.enter_context(postgres.serve_database()).dsn
        model = stack.enter_context(fake_model.serve_model())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other_source = stack.enter_context(builds.check_out(commit))
        environ = {**request_cost.ENVIRON, **_turns_environ(model.url)}
        servers = [
            stack.enter_context(
                _serve_build(builds.create_build(name, source, dsn, environ), folder)
            )
            for name, source in (("now", ROOT), ("other", other_source))
        ]
        return [
            _compare(scenario, servers, model, index * ROUNDS, calls, seconds)
            for index, scenario in enumerate(SCENARIOS)
        ]


@dataclass(frozen=True)
class _Servers:
    """The servers of one build."""

    build: Build
    web: WebServer
    relay: WebServer
    twilio: WebServer

    def cpu_s(self) -> float:
        """Return the CPU seconds of all servers so far."""
        return self.web.cpu_s() + self.relay.cpu_s() + self.twilio.cpu_s()


@contextmanager
def _serve_build(build: Build, folder: Path) -> Iterator[_Servers]:
    """Serve a build with the fake carrier, and with Twilio and its WebSockets."""
    twilio = build.environ | {
        "TELEPHONY_PROVIDER": "twilio",
        "TWILIO_ACCOUNT_SID": relay_callers.ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": relay_callers.AUTH_TOKEN,
        "RELAY_SLOTS": str(2 * _THREADS - 6),
        "RELAY_WORKERS": str(_WORKERS),
        "RELAY_THREADS": str(_THREADS),
    }
    source = build.source
    with (
        web.serve_app("wsgi:app", build.environ, folder, source=source) as web_server,
        web.serve_app("wsgi:app", twilio, folder, source=source) as twilio_server,
        web.serve_app("wsgi:app", twilio, folder, group="relay", source=source) as relay_server,
    ):
        builds.create_tenants(build, web_server.port)
        yield _Servers(build, web_server, relay_server, twilio_server)


def _compare(
    scenario: Scenario,
    servers: Sequence[_Servers],
    model: FakeModel,
    first_run: int,
    calls: int,
    seconds: float,
) -> Comparison:
    model.set_shape(AnswerShape(tokens=scenario.tokens))
    results: list[list[Round]] = [[] for _ in servers]
    for number in range(ROUNDS):
        order = list(enumerate(servers))
        for index, build_servers in order if number % 2 == 0 else reversed(order):
            print_progress(f"{scenario}, round {number + 1}: {build_servers.build.name}")
            run = first_run + number + 1
            results[index].append(_run_round(scenario, build_servers, run, calls, seconds))
    return Comparison(scenario, *results)


def _run_round(
    scenario: Scenario, servers: _Servers, run: int, calls: int, seconds: float
) -> Round:
    before_s = servers.cpu_s()
    if scenario.transport == "HTTP":
        turns, errors = _run_http_calls(servers, run, calls, seconds)
    else:
        turns, errors = _run_relay_calls(servers, run, calls, seconds)
    for error in sorted(set(errors))[:5]:
        print_progress(f"error: {error}")
    return Round((servers.cpu_s() - before_s) * 1000 / max(1, turns), turns, len(errors))


def _run_http_calls(
    servers: _Servers, run: int, calls: int, seconds: float
) -> tuple[int, Sequence[str]]:
    result = callers.run_callers(
        TurnLoadPlan(
            port=servers.web.port,
            base_url=postgres.BASE_URL,
            secret_key=_SECRET_KEY,
            numbers=NUMBERS,
            calls=calls,
            seconds=seconds,
            warm_up_s=0,
            think_only=True,
            run=run,
        )
    )
    return result.answered_turns, result.errors


def _run_relay_calls(
    servers: _Servers, run: int, calls: int, seconds: float
) -> tuple[int, Sequence[str]]:
    result = relay_callers.run_callers(
        RelayLoadPlan(
            web_port=servers.twilio.port,
            relay_port=servers.relay.port,
            base_url=postgres.BASE_URL,
            numbers=NUMBERS,
            calls=calls,
            seconds=seconds,
            warm_up_s=0,
            think_only=True,
            run=run,
        )
    )
    return result.answered_turns, result.errors


def _turns_environ(model_url: str) -> dict[str, str]:
    return {
        "WEB_WORKERS": str(_WORKERS),
        "WEB_THREADS": str(_THREADS),
        "DATABASE_POOL_SIZE": str(_POOL),
        "LLM_BASE_URL": model_url,
        "LLM_API_KEY": "a-key-of-the-benchmark",
        "LLM_MODEL": "fake",
    }
