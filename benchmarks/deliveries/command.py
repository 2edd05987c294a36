"""`python -m benchmarks deliveries`: how an unresponsive receiver affects the others."""

import base64
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from benchmarks import postgres, request_cost, tenant_data, worker
from benchmarks.cpu import ProcessNotLocal
from benchmarks.deliveries import backlog, claim_latency, event_latency, receivers, report
from benchmarks.deliveries.report import LatencyFigure
from benchmarks.postgres import BenchmarkDatabase, BenchmarkRunning
from benchmarks.progress import print_progress
from benchmarks.report import run_facts
from benchmarks.web import ServerNotStarted
from vca.app import create_services
from vca.services import Services
from vca.settings import Settings, read_settings

TENANTS, CLAIMS = 10, 300
CLAIM_MS, FIRST_MS = 25.0, 2_000.0
_EXTRA_ENVIRON = {
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
    "WEBHOOK_ALLOW_HTTP": "true",
    "ENCRYPTION_KEYS": base64.b64encode(b"k" * 32).decode(),
}


@click.command("deliveries", short_help="Measure webhook claims and first attempts.")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(5))
@click.option("--note", default="", help="Remark for the results.")
@click.option(
    "--keep/--no-keep", default=True, help="Write to benchmarks/results.", show_default=True
)
def command(seconds: float, note: str, keep: bool) -> None:
    """Measure claims and first attempts with 200,000 deliveries and an unresponsive receiver."""
    try:
        with ExitStack() as stack:
            figures, database, job_cpu_ms = _measure(stack, seconds)
    except (BenchmarkRunning, ProcessNotLocal, ServerNotStarted) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{report.format_table(figures)}\n")
    if keep:
        click.echo(
            "Written: "
            f"{report.write_results(figures, _run_facts(database, job_cpu_ms, seconds, note))}"
        )
    if not all(figure.is_met for figure in figures):
        raise click.ClickException("a target was missed")


def _measure(
    stack: ExitStack, seconds: float
) -> tuple[list[LatencyFigure], BenchmarkDatabase, dict[str, float]]:
    print_progress("starting Postgres and the receivers")
    database = stack.enter_context(postgres.serve_database())
    receiver_pair = stack.enter_context(receivers.serve_receivers())
    environ = {**request_cost.ENVIRON, **database.environ(), **_EXTRA_ENVIRON}
    settings = read_settings(environ)
    tenants = tenant_data.create_tenants(settings, database, TENANTS)
    services = stack.enter_context(_open_services(settings))
    tenant_endpoints = backlog.create_endpoints(tenants, receiver_pair, services=services)
    print_progress(f"inserting {2 * backlog.BACKLOG_SIZE:,} deliveries for one tenant")
    backlog.fill_backlog(database, *tenant_endpoints[:2])
    job_cpu_ms: dict[str, float] = {}
    figures = list(_measure_claims(database, job_cpu_ms, *tenant_endpoints[:2], services=services))
    backlog.reset_queue(database, *tenant_endpoints[:2], services=services)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    print_progress(f"running a worker, {event_latency.EVENTS_PER_S} events/s for {seconds:g} s")
    with worker.run_worker(database, environ, folder):
        first_attempts_s = event_latency.measure_first_attempts(
            tenant_endpoints, receiver_pair, seconds=seconds, services=services
        )
    first_attempt = LatencyFigure(
        "first attempt for other endpoints, after the commit", first_attempts_s, FIRST_MS
    )
    return [*figures, first_attempt], database, job_cpu_ms


def _measure_claims(
    database: BenchmarkDatabase,
    job_cpu_ms: dict[str, float],
    first: backlog.TenantEndpoints,
    other: backlog.TenantEndpoints,
    *,
    services: Services,
) -> Iterator[LatencyFigure]:
    """Yield the figures of claims; store the CPU milliseconds of a job in `job_cpu_ms`.

    The CPU time is that of this process and of Postgres.
    """
    assert first.unresponsive is not None
    print_progress(f"measuring {CLAIMS} claims, with successful and with failed deliveries")
    successes_s = claim_latency.measure_successful_deliveries(
        first.tenant, first.unresponsive, times=CLAIMS, services=services
    )
    yield LatencyFigure("record a success and claim the next delivery", successes_s, CLAIM_MS)
    with _count_cpu(database, job_cpu_ms, "100,000"):
        claims_s, records_s = claim_latency.measure_failed_deliveries(
            first.tenant, first.unresponsive, times=CLAIMS, services=services
        )
    yield LatencyFigure("claim by a new job", claims_s, CLAIM_MS)
    yield LatencyFigure("record a failure and schedule the next attempt", records_s)
    with _count_cpu(database, job_cpu_ms, "1,000"):
        claims_s, records_s = claim_latency.measure_failed_deliveries(
            other.tenant, other.responsive, times=CLAIMS, services=services
        )
    backlog_note = f"{backlog.SMALL_BACKLOG_SIZE:,} waiting"
    yield LatencyFigure(f"claim by a new job, {backlog_note}", claims_s)
    yield LatencyFigure(
        f"record a failure and schedule the next attempt, {backlog_note}", records_s
    )


@contextmanager
def _count_cpu(
    database: BenchmarkDatabase, job_cpu_ms: dict[str, float], waiting: str
) -> Iterator[None]:
    """Store the CPU milliseconds of each job in the block, independent of other load."""
    before_s = time.process_time() + database.cpu_s()
    yield
    took_s = time.process_time() + database.cpu_s() - before_s
    job_cpu_ms[waiting] = took_s * 1000 / (claim_latency.WARM_UP + CLAIMS)


@contextmanager
def _open_services(settings: Settings) -> Iterator[Services]:
    """Yield the services of the settings, as the web server has them."""
    services = create_services(settings)
    try:
        yield services
    finally:
        services.database.close()


def _run_facts(
    database: BenchmarkDatabase, job_cpu_ms: dict[str, float], seconds: float, note: str
) -> dict[str, object]:
    return run_facts(
        Postgres=database.version,
        run=f"{CLAIMS} claims each; "
        f"{event_latency.EVENTS_PER_S} events/s for {seconds:g} s, half of them "
        "of the tenant with the unresponsive receiver",
        CPU=", ".join(
            f"{each_ms:.1f} ms per job (reset, claim, record) with {waiting} waiting"
            for waiting, each_ms in job_cpu_ms.items()
        ),
        worker="one process, default lanes",
        **({"note": note} if note else {}),
    )
