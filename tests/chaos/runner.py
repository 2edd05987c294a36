"""Kill web and worker processes at failpoints during calls, and report the result.

The seed determines the order of the failpoints and of the calls. What a kill interrupts depends on
the machine.
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

from tests.chaos import webhook_endpoints
from tests.chaos.failpoints import CALL_SILENCE_S, END_WITHIN_S, FAILPOINTS
from tests.chaos.fixtures import ChaosTenant, create_chaos_tenant
from tests.chaos.scenarios import SCENARIOS, CallResult, ScenarioContext, run_scenario
from tests.fakes.http_receiver import http_receiver
from tests.support import carrier_adapter, databases, rate_limits
from tests.support.carrier_adapter import RemoteCarrierAdapter
from tests.support.carrier_server import CarrierServer, carrier_server
from tests.support.factories import Factory
from tests.support.processes import (
    BIN_FOLDER,
    Program,
    WebServer,
    process_environment,
    run_gunicorn,
    run_program,
)
from vca.settings import Settings

_GUNICORN = [str(BIN_FOLDER / "gunicorn"), "--preload", "tests.chaos.wsgi:app"]
_WORKER_SUPERVISOR = [str(BIN_FOLDER / "python"), "-m", "tests.chaos.worker_supervisor"]
# This number of failpoints is active at a time, so that a rarely reached one does not delay others.
MAX_ACTIVE_POINTS = 4
# With more frequent kills, a request that takes a second would never complete.
KILL_EVERY_S = 1.0
_POLL_EVERY_S = 0.05


@dataclass(frozen=True)
class ChaosPlan:
    """How many processes to kill, with how many concurrent calls."""

    kills: int
    seed: int
    calls: int
    max_duration_s: float
    points: tuple[str, ...] = FAILPOINTS


@dataclass
class ChaosReport:
    """The result of a chaos run."""

    kills: Counter[str] = field(default_factory=Counter)
    results: list[CallResult] = field(default_factory=list)
    final_problems: list[str] = field(default_factory=list)
    events: int = 0
    requests: int = 0
    duration_s: float = 0.0

    @property
    def problems(self) -> list[str]:
        """Return all problems of calls and of the final state."""
        call_problems = [
            f"{result.scenario}: {problem}"
            for result in self.results
            for problem in result.problems
        ]
        return call_problems + self.final_problems


class FailpointScheduler:
    """Activates failpoints in a random order and counts the processes that they killed."""

    def __init__(self, folder: Path, plan: ChaosPlan) -> None:
        self._folder = folder
        rng = random.Random(plan.seed)
        point_count = len(plan.points)
        rounds = [
            rng.sample(plan.points, point_count) for _ in range(plan.kills // point_count + 1)
        ]
        self._planned = [point for points in rounds for point in points][: plan.kills]
        self._active_points: list[str] = []
        self._next_at = 0.0
        self.kills: Counter[str] = Counter()

    @property
    def is_done(self) -> bool:
        return not self._planned and not self._active_points

    def advance(self) -> None:
        """Count the active failpoints that have killed a process, and activate the next ones."""
        for name in [
            active_name
            for active_name in self._active_points
            if not (self._folder / active_name).exists()
        ]:
            self._active_points.remove(name)
            self.kills[name] += 1
        for name in list(self._planned):
            if len(self._active_points) >= MAX_ACTIVE_POINTS or time.monotonic() < self._next_at:
                return
            if name not in self._active_points:
                self._planned.remove(name)
                self._active_points.append(name)
                (self._folder / name).touch()
                self._next_at = time.monotonic() + KILL_EVERY_S

    def deactivate_all(self) -> None:
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)


@dataclass
class ChaosRun:
    """Web and worker processes, the carrier's server, and two tenants."""

    web: WebServer
    workers: Program
    server: CarrierServer
    adapter: RemoteCarrierAdapter
    tenants: list[ChaosTenant]
    folder: Path

    def run(
        self, plan: ChaosPlan, on_progress: Callable[[ChaosReport], None] = lambda _: None
    ) -> ChaosReport:
        """Play calls until enough processes were killed, then let the active calls end."""
        report, scheduler = ChaosReport(), FailpointScheduler(self.folder, plan)
        started_at, stop, lock = time.monotonic(), Event(), Lock()
        scenario_names, tenants = self._scenario_names(plan.seed), cycle(self.tenants)

        def play_calls() -> None:
            while not stop.is_set():
                with lock:
                    name, tenant = next(scenario_names), next(tenants)
                result = run_scenario(
                    name, ScenarioContext(tenant, self.server, self.adapter, self.web.port)
                )
                with lock:
                    report.results.append(result)

        with ThreadPoolExecutor(plan.calls) as pool:
            try:
                futures = [pool.submit(play_calls) for _ in range(plan.calls)]
                while not scheduler.is_done and time.monotonic() - started_at < plan.max_duration_s:
                    scheduler.advance()
                    report.kills, report.duration_s = scheduler.kills, time.monotonic() - started_at
                    on_progress(report)
                    self._check_health()
                    time.sleep(_POLL_EVERY_S)
            finally:
                stop.set()
                scheduler.deactivate_all()
        for future in futures:
            future.result()
        report.final_problems = list(self._check_final_state(plan, scheduler))
        for tenant in self.tenants:
            deliveries = webhook_endpoints.await_deliveries(tenant.tenant, tenant.endpoints)
            report.events += len(deliveries.stored_events)
            report.requests += len(deliveries.requests)
            report.final_problems += deliveries.problems()
        return report

    def _scenario_names(self, seed: int) -> Iterator[str]:
        rng = random.Random(f"calls {seed}")
        for _ in count():
            yield from rng.sample(list(SCENARIOS), len(SCENARIOS))

    def _check_health(self) -> None:
        for program in (self.web.program, self.workers):
            assert program.is_alive, program.output.read_text()[-4_000:]

    def _check_final_state(self, plan: ChaosPlan, scheduler: FailpointScheduler) -> Iterator[str]:
        if scheduler.kills.total() < plan.kills:
            kills = scheduler.kills.total()
            yield f"only {kills} of {plan.kills} kills in {plan.max_duration_s:.0f} s"
        dialled_twice = [reference for reference, dials in self.server.dials.items() if dials > 1]
        if dialled_twice:
            yield f"{len(dialled_twice)} calls dialled twice"
        ends_at = time.monotonic() + END_WITHIN_S
        # The job that ends a call is still running at that moment, and the job of a killed worker
        # counts as running until the rescue job finds it.
        while time.monotonic() < ends_at and any(
            tenant.live_call_count() or tenant.check_job_count() for tenant in self.tenants
        ):
            time.sleep(_POLL_EVERY_S)
        for tenant in self.tenants:
            if live_calls := tenant.live_call_count():
                yield f"{live_calls} calls are still live"
            if watches := tenant.check_job_count():
                yield f"{watches} jobs still check on ended calls"


@contextmanager
def start_chaos_run(
    settings: Settings, url: str, folder: Path, world: Factory
) -> Iterator[ChaosRun]:
    """Start two web processes and four workers on the database of `url`, with two tenants."""
    failpoint_folder = folder / "armed"
    failpoint_folder.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(carrier_server())
        environ = _environ(settings, url, folder, failpoint_folder, server)
        web = stack.enter_context(run_gunicorn(environ, folder / "web.log", _GUNICORN))
        workers = stack.enter_context(
            run_program(_WORKER_SUPERVISOR, environ, folder / "workers.log")
        )
        adapter = RemoteCarrierAdapter(f"fake-carrier|{settings.secret_key}")
        tenants = []
        for name in ("Acme", "Globex"):
            receivers = [
                stack.enter_context(http_receiver()) for _ in webhook_endpoints.ENDPOINT_TYPES
            ]
            tenants.append(create_chaos_tenant(world, name, receivers))
        yield ChaosRun(web, workers, server, adapter, tenants, failpoint_folder)


def _environ(
    settings: Settings, url: str, folder: Path, failpoint_folder: Path, server: CarrierServer
) -> dict[str, Any]:
    return process_environment(
        settings,
        DATABASE_URL=databases.as_login(url, databases.WEB),
        WORKER_DATABASE_URL=databases.as_login(url, databases.WORKER),
        APP_NAME="VCA in a chaos run",
        TELEPHONY_PROVIDER=carrier_adapter.PROVIDER_TYPE,
        CALL_SILENCE_S=str(CALL_SILENCE_S),
        RECORDING_STORE=f"folder:{folder / 'recordings'}",
        CRASH_DIR=str(failpoint_folder),
        WEB_THREADS="16",
        DATABASE_POOL_SIZE="16",
        WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8",
        WEBHOOK_ALLOW_HTTP="true",
        LOG_LEVEL="warning",
        **{carrier_adapter.SERVER_URL_VARIABLE: server.url},
        **rate_limits.HIGH_RATE_LIMITS,
    )
