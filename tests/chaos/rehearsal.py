"""Kill web and worker at crash points, over and over, while calls go on; and tell what came of it.

The order of the points and of the calls follows a seed. What is interrupted when follows the
machine.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from threading import Event, Lock
from typing import Any

from tests.chaos import hooks
from tests.chaos.points import END_WITHIN_S, POINTS, SILENCE_S
from tests.chaos.scenarios import SCENARIOS, Act, Told, play
from tests.chaos.stage import Stage, furnish
from tests.doubles.receiver import receiver
from tests.support import carrier_adapter, databases, limits
from tests.support.carrier_adapter import RehearsedAdapter
from tests.support.carrier_server import CarrierServer, carrier_server
from tests.support.processes import BIN, Program, Web, running, serving
from tests.support.world import World
from vca.settings import Settings

_GUNICORN = [str(BIN / "gunicorn"), "--preload", "tests.chaos.wsgi:app"]
_NURSERY = [str(BIN / "python"), "-m", "tests.chaos.nursery"]
# So many points wait for somebody to come by; one that is rarely passed holds no other up.
ARMED = 4
# More often, and a request that takes a second would never come to its end.
KILL_EVERY_S = 1.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Plan:
    """How much to kill, and with how many calls at once."""

    kills: int
    seed: int
    calls: int
    most_s: float
    points: tuple[str, ...] = POINTS


@dataclass
class Report:
    """What a rehearsal has seen."""

    kills: Counter[str] = field(default_factory=Counter)
    told: list[Told] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    events: int = 0
    requests: int = 0
    took_s: float = 0.0

    @property
    def problems(self) -> list[str]:
        """All that should not be."""
        wrong = [f"{one.scenario}: {why}" for one in self.told for why in one.problems]
        return wrong + self.left_over


class Armoury:
    """Arms points in an order of its own, and counts those that somebody died at."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        chance = random.Random(plan.seed)
        each = len(plan.points)
        rounds = [chance.sample(plan.points, each) for _ in range(plan.kills // each + 1)]
        self._planned = [point for one in rounds for point in one][: plan.kills]
        self._armed: list[str] = []
        self._next_at = 0.0
        self.kills: Counter[str] = Counter()

    @property
    def done(self) -> bool:
        return not self._planned and not self._armed

    def step(self) -> None:
        """Count whom the armed points have killed, and arm the next ones."""
        for name in [one for one in self._armed if not (self._folder / one).exists()]:
            self._armed.remove(name)
            self.kills[name] += 1
        for name in list(self._planned):
            if len(self._armed) >= ARMED or time.monotonic() < self._next_at:
                return
            if name not in self._armed:
                self._planned.remove(name)
                self._armed.append(name)
                (self._folder / name).touch()
                self._next_at = time.monotonic() + KILL_EVERY_S

    def disarm(self) -> None:
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)


@dataclass
class Rehearsal:
    """Web and worker as processes, the carrier beyond them, and two tenants."""

    web: Web
    workers: Program
    server: CarrierServer
    adapter: RehearsedAdapter
    stages: list[Stage]
    folder: Path

    def run(self, plan: Plan, watch: Callable[[Report], None] = lambda _: None) -> Report:
        """Play calls until enough was killed, then let all that are under way come to their end."""
        report, armoury = Report(), Armoury(self.folder, plan)
        began, over, lock = time.monotonic(), Event(), Lock()
        names, stages = self._calls(plan.seed), cycle(self.stages)

        def caller() -> None:
            while not over.is_set():
                with lock:
                    name, stage = next(names), next(stages)
                told = play(name, Act(stage, self.server, self.adapter, self.web.port))
                with lock:
                    report.told.append(told)

        with ThreadPoolExecutor(plan.calls) as pool:
            try:
                playing = [pool.submit(caller) for _ in range(plan.calls)]
                while not armoury.done and time.monotonic() - began < plan.most_s:
                    armoury.step()
                    report.kills, report.took_s = armoury.kills, time.monotonic() - began
                    watch(report)
                    self._check_health()
                    time.sleep(_LOOK_EVERY_S)
            finally:
                over.set()
                armoury.disarm()
        for one in playing:
            one.result()
        report.left_over = list(self._left_over(plan, armoury))
        for stage in self.stages:
            heard = hooks.heard(stage.tenant, stage.hooks)
            report.events += len(heard.happened)
            report.requests += len(heard.requests)
            report.left_over += heard.problems()
        return report

    def _calls(self, seed: int) -> Iterator[str]:
        chance = random.Random(f"calls {seed}")
        for _ in count():
            yield from chance.sample(list(SCENARIOS), len(SCENARIOS))

    def _check_health(self) -> None:
        for program in (self.web.program, self.workers):
            assert program.alive, program.output.read_text()[-4_000:]

    def _left_over(self, plan: Plan, armoury: Armoury) -> Iterator[str]:
        if armoury.kills.total() < plan.kills:
            yield f"only {armoury.kills.total()} of {plan.kills} kills in {plan.most_s:.0f} s"
        twice = [reference for reference, dials in self.server.dials.items() if dials > 1]
        if twice:
            yield f"{len(twice)} calls dialled twice"
        ends_at = time.monotonic() + END_WITHIN_S
        while time.monotonic() < ends_at and any(one.lines_in_use() for one in self.stages):
            time.sleep(_LOOK_EVERY_S)
        for stage in self.stages:
            if lines := stage.lines_in_use():
                yield f"{lines} lines are still in use"
            if watches := stage.watches():
                yield f"{watches} jobs watch over calls that have ended"


@contextmanager
def prepared(settings: Settings, url: str, folder: Path, world: World) -> Iterator[Rehearsal]:
    """Everything up: two web processes and four workers on the database of `url`, two tenants."""
    armed = folder / "armed"
    armed.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(carrier_server())
        environ = _environ(settings, url, folder, armed, server)
        web = stack.enter_context(serving(environ, folder / "web.log", _GUNICORN))
        workers = stack.enter_context(running(_NURSERY, environ, folder / "workers.log"))
        adapter = RehearsedAdapter(f"fake-carrier|{settings.secret_key}")
        stages = []
        for name in ("Acme", "Globex"):
            receivers = [stack.enter_context(receiver()) for _ in hooks.KINDS]
            stages.append(furnish(world, name, receivers))
        yield Rehearsal(web, workers, server, adapter, stages, armed)


def _environ(
    settings: Settings, url: str, folder: Path, armed: Path, server: CarrierServer
) -> dict[str, Any]:
    return {
        "DATABASE_URL": databases.as_login(url, databases.WEB),
        "WORKER_DATABASE_URL": databases.as_login(url, databases.WORKER),
        "APP_ENV": "development",
        "APP_NAME": "VCA in a rehearsal",
        "DEBUG": "false",
        "SECRET_KEY": settings.secret_key,
        "API_KEY_PEPPERS": ",".join(settings.api_key_peppers),
        "TELEPHONY_PROVIDER": carrier_adapter.NAME,
        "CALL_SILENCE_S": str(SILENCE_S),
        "RECORDING_STORE": f"folder:{folder / 'recordings'}",
        "CRASH_DIR": str(armed),
        "WEB_THREADS": "16",
        "DATABASE_POOL_SIZE": "16",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "WEBHOOK_ALLOW_HTTP": "true",
        "LOG_LEVEL": "warning",
        carrier_adapter.URL: server.url,
        **limits.PLENTY,
    }
