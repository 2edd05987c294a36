"""`python -m benchmarks requests`: what a request costs, beside the same work by hand."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from benchmarks import load, postgres, report, requests, rounds, web, world
from benchmarks.cpu import NotHere
from benchmarks.load import Order, Outcome, Requests
from benchmarks.postgres import Busy, Postgres
from benchmarks.progress import say
from benchmarks.report import Round, Target
from benchmarks.requests import Calls
from benchmarks.sameness import NotTheSame, Pair
from benchmarks.web import DidNotStart, Web
from benchmarks.world import Tenant
from vca.kit.config import read_settings

ENVIRON = {
    "APP_ENV": "development",
    "APP_NAME": "VCA",
    "DEBUG": "false",
    "SECRET_KEY": "a-secret-of-the-benchmark-and-no-other",
    "API_KEY_PEPPERS": "a-pepper-of-the-benchmark-and-no-other",
    "TELEPHONY_PROVIDER": "fake",
    "LOG_LEVEL": "info",
    "WEB_WORKERS": "2",
    # The apps beside have none; what they cost is measured by `limits`.
    "RATE_LIMIT_KEY": "0",
    "RATE_LIMIT_TENANT": "0",
    "RATE_LIMIT_PLATFORM_KEY": "0",
}
_APPS = {
    "hello": "benchmarks.apps.hello:app",
    "vca": "wsgi:app",
    "by_hand": "benchmarks.apps.by_hand:app",
    "twilio": "wsgi:app",
}
_MORE = {"twilio": requests.TWILIO}
_LIST, _CALL = "GET T/phone-numbers", "inbound call"
# Beside each other stand those that are compared; every second round goes the other way round.
_TARGETS = {
    "hello": ("hello", "bare Flask hello", None),
    "list": ("vca", f"{_LIST}, VCA", "list-by-hand"),
    "list-by-hand": ("by_hand", f"{_LIST}, by hand", None),
    "call": ("vca", f"{_CALL}, VCA", "call-by-hand"),
    "call-by-hand": ("by_hand", f"{_CALL}, by hand", None),
    "call-twilio": ("twilio", f"{_CALL}, VCA, Twilio's", "call"),
}
_WARM_UP_ROUNDS = 2


@dataclass
class Bench:
    """A run: the served apps, the requests of each target, and what came of them."""

    postgres: Postgres
    webs: dict[str, Web]
    requests: dict[str, Requests]
    targets: list[Target]
    generate: Callable[[Order], Outcome]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self._sent = dict.fromkeys(self.requests, 0)

    def measure(self, rounds: int, seconds: float) -> None:
        """Warm up, then load every target in turn, `rounds` times."""
        for target in self.targets:
            self.say(f"warming up: {target.title}")
            self._round(target, seconds * _WARM_UP_ROUNDS)
        for number in range(rounds):
            ordered = self.targets if number % 2 == 0 else self.targets[::-1]
            for target in ordered:
                found = self._round(target, seconds)
                target.rounds.append(found)
                told = f"{found.cpu_ms:6.2f} ms CPU, {found.requests_per_s:6.0f} requests/s"
                self.say(f"round {number + 1}/{rounds}: {target.title:32} {told}")

    def _round(self, target: Target, seconds: float) -> Round:
        served = self.webs[_TARGETS[target.name][0]]
        order = Order(served.port, seconds, self._sent[target.name], self.requests[target.name])
        found = rounds.run(served, self.postgres, self.generate, order)
        self._sent[target.name] += found.requests + load.CONNECTIONS
        return found


@click.command("requests")
@click.option(
    "--rounds", default=7, show_default=True, type=click.IntRange(1), help="Of each target."
)
@click.option(
    "--seconds", default=3.0, show_default=True, type=click.FloatRange(0.2), help="A round."
)
@click.option(
    "--tenants", default=200, show_default=True, type=click.IntRange(2), help="In rotation."
)
@click.option(
    "--only", multiple=True, type=click.Choice(list(_TARGETS)), help="These targets only."
)
@click.option("--keep/--no-keep", default=True, help="Write benchmarks/results.", show_default=True)
def command(rounds: int, seconds: float, tenants: int, only: Sequence[str], keep: bool) -> None:
    """Measure CPU per request under gunicorn with two workers, beside the same work by hand."""
    targets = [
        Target(name, title, floor)
        for name, (_, title, floor) in _TARGETS.items()
        if not only or name in only
    ]
    try:
        with ExitStack() as stack:
            bench, held = _prepare(stack, targets, tenants)
            bench.measure(rounds, seconds)
            facts = _facts(bench, rounds, seconds, tenants, held)
    except (Busy, NotHere, NotTheSame, DidNotStart) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{report.table(targets)}\n")
    if keep:
        click.echo(f"Written: {report.write(targets, facts)}")
    errors = sum(one.errors for target in targets for one in target.rounds)
    if errors:
        raise click.ClickException(f"{errors} requests failed; the figures are worth nothing")


def _prepare(stack: ExitStack, targets: list[Target], tenants: int) -> tuple[Bench, int]:
    """Database, tenants, the apps, and the proof that two of them do the same."""
    say("starting Postgres")
    server = stack.enter_context(postgres.served())
    environ = {**ENVIRON, **server.environ()}
    settings = read_settings(environ)
    say(f"making {tenants} tenants")
    made = world.populate(settings, server, tenants)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    generate = stack.enter_context(load.generator())
    say("starting gunicorn, four times")
    webs = {
        name: stack.enter_context(web.served(app, {**environ, **_MORE.get(name, {})}, folder))
        for name, app in _APPS.items()
    }
    calls = partial(_calls, environ, made)
    held = Pair(webs["vca"], webs["by_hand"], server, calls).check(made)
    say(f"both apps do the same: {held} comparisons held")
    return Bench(server, webs, _requests(made, calls), targets, generate, say), held


def _calls(environ: dict[str, str], made: Sequence[Tenant], app: str) -> Calls:
    numbers = tuple(tenant.number for tenant in made)
    return Calls(environ["SECRET_KEY"], environ["PUBLIC_BASE_URL"], app, numbers)


def _requests(made: Sequence[Tenant], calls: Callable[[str], Calls]) -> dict[str, Requests]:
    return {
        "hello": requests.hello(),
        "list": requests.lists(made, "vca"),
        "list-by-hand": requests.lists(made, "by_hand"),
        "call": calls("vca"),
        "call-by-hand": calls("by_hand"),
        "call-twilio": requests.TwilioCalls(calls("vca").base_url, calls("vca").numbers),
    }


def _facts(bench: Bench, rounds: int, seconds: float, tenants: int, held: int) -> dict[str, object]:
    return report.facts(
        Postgres=bench.postgres.version,
        run=f"{rounds} interleaved rounds of {seconds:g} s for each target, after a warm-up",
        tenants=f"{tenants} in rotation, {world.NUMBERS} numbers each",
        connections=load.CONNECTIONS,
        gunicorn="gunicorn.conf.py, two workers (gthread); workers are not renewed during the run",
        sameness=f"{held} comparisons of both apps' answers, rows and log lines held before",
    )
