"""`python -m benchmarks deliveries`: what a dead receiver costs the others."""

import base64
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from benchmarks import cost, postgres, world
from benchmarks.cpu import NotHere
from benchmarks.deliveries import backlog, claiming, receivers, report, telling
from benchmarks.deliveries.report import Figure
from benchmarks.postgres import ROOT, Busy, Postgres
from benchmarks.progress import say
from benchmarks.report import facts
from benchmarks.web import DidNotStart
from vca.kit import at_rest, db
from vca.kit.config import Settings, read_settings
from vca.kit.db import Database

TENANTS, CLAIMS = 10, 300
CLAIM_MS, FIRST_MS = 25.0, 2_000.0
_STOP_S = 30
_AT_WORK = "SELECT id FROM jobs.procrastinate_jobs WHERE status = 'doing'"
_MORE = {
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    "WEBHOOK_ALLOW_HTTP": "true",
    "ENCRYPTION_KEYS": base64.b64encode(b"k" * 32).decode(),
}


@click.command("deliveries")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(5))
@click.option("--note", default="", help="What the reader should know of this run.")
@click.option("--keep/--no-keep", default=True, help="Write benchmarks/results.", show_default=True)
def command(seconds: float, note: str, keep: bool) -> None:
    """Measure claims and first attempts, with 200,000 deliveries waiting and a dead receiver."""
    try:
        with ExitStack() as stack:
            figures, server, cpu = _measure(stack, seconds)
    except (Busy, NotHere, DidNotStart) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{report.table(figures)}\n")
    if keep:
        click.echo(f"Written: {report.write(figures, _facts(server, cpu, seconds, note))}")
    if not all(one.met for one in figures):
        raise click.ClickException("not what was wanted")


def _measure(stack: ExitStack, seconds: float) -> tuple[list[Figure], Postgres, dict[str, float]]:
    say("starting Postgres and the receivers")
    server = stack.enter_context(postgres.served())
    heard = stack.enter_context(receivers.served())
    environ = {**cost.ENVIRON, **server.environ(), **_MORE}
    settings = read_settings(environ)
    made = world.populate(settings, server, TENANTS)
    stack.enter_context(_connected(settings))
    told = backlog.attach(made, heard)
    say(f"{2 * backlog.WAITING:,} deliveries for one tenant")
    backlog.fill(server, *told[:2])
    cpu: dict[str, float] = {}
    figures = list(_claims(server, cpu, *told[:2]))
    backlog.begin(server, *told[:2])
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    say(f"a worker, and {telling.PACE} events a second for {seconds:g} s")
    with _worker(server, environ, folder):
        came = telling.measure(told, heard, seconds=seconds)
    first = Figure("first attempt for other endpoints, after the commit", came, FIRST_MS)
    return [*figures, first], server, cpu


def _claims(
    server: Postgres, cpu: dict[str, float], first: backlog.Endpoints, other: backlog.Endpoints
) -> Iterator[Figure]:
    """The figures of claims; `cpu` gets the milliseconds of a job, of ours and of Postgres."""
    assert first.dead is not None
    say(f"{CLAIMS} claims, with a receiver that is there and with one that is not")
    took = claiming.one_after_the_other(first.tenant, first.dead, times=CLAIMS)
    yield Figure("note a success and claim the next delivery", took, CLAIM_MS)
    with _counted(server, cpu, "100,000"):
        claims, notes = claiming.one_each(first.tenant, first.dead, times=CLAIMS)
    yield Figure("claim by a new job", claims, CLAIM_MS)
    yield Figure("note a failure and order the next try", notes)
    with _counted(server, cpu, "1,000"):
        claims, notes = claiming.one_each(other.tenant, other.listening, times=CLAIMS)
    few = f"where {backlog.FEW:,} wait"
    yield Figure(f"claim by a new job, {few}", claims)
    yield Figure(f"note a failure and order the next try, {few}", notes)


@contextmanager
def _counted(server: Postgres, cpu: dict[str, float], waiting: str) -> Iterator[None]:
    """Milliseconds of CPU of each job in the block, whoever else uses the machine."""
    before_s = time.process_time() + server.cpu_s()
    yield
    took_s = time.process_time() + server.cpu_s() - before_s
    cpu[waiting] = took_s * 1000 / (claiming.FIRST + CLAIMS)


@contextmanager
def _connected(settings: Settings) -> Iterator[None]:
    """This process's own database and keys, as the web has them."""
    at_rest.use(at_rest.Keys(settings.keys_at_rest))
    database = db.use(Database(settings.database_dsn, pool_size=2))
    try:
        yield
    finally:
        database.close()


@contextmanager
def _worker(server: Postgres, environ: dict[str, str], folder: Path) -> Iterator[None]:
    """`flask worker` as it is run, once it waits for the dead receiver, until the block ends."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "wsgi", "worker"],
            cwd=ROOT,
            env={**plain, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while process.poll() is None and not server.run(_AT_WORK):
            time.sleep(0.1)
        yield
        if process.poll() is not None:
            raise DidNotStart(f"the worker ended; its log says:\n{log.read_text()[-2_000:]}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _facts(server: Postgres, cpu: dict[str, float], seconds: float, note: str) -> dict[str, object]:
    return facts(
        Postgres=server.version,
        run=f"{CLAIMS} claims each; {telling.PACE} events a second for {seconds:g} s, half of them "
        "of the tenant with the dead receiver",
        CPU=", ".join(
            f"{each_ms:.1f} ms a job that claims, is woken and notes where {waiting} wait"
            for waiting, each_ms in cpu.items()
        ),
        worker="one process, four jobs side by side",
        **({"note": note} if note else {}),
    )
