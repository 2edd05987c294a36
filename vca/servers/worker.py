"""`flask worker`: run the jobs that requests and other jobs have enqueued."""

import time
from collections.abc import Sequence

import click
from flask import current_app

from vca import cli
from vca.jobs import lanes, queue, worker_loop
from vca.jobs.lanes import Lane
from vca.kit import db
from vca.kit.db import Database, DatabaseFailure
from vca.observability import log, prometheus
from vca.registry import deployment
from vca.registry.model_checks import background as model_checks
from vca.settings import Settings
from vca.tenancy.session import public_session
from vca.tenant.calls.core import call_services


def _parse_lane_names(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list; fail if one of them is not a lane."""
    names = tuple(name.strip() for name in value.split(","))
    if unknown := [name for name in names if name not in lanes.NAMES]:
        raise click.BadParameter(
            f"{', '.join(map(repr, unknown))}: the lanes are {', '.join(lanes.NAMES)}."
        )
    return names


@click.command("worker")
@click.option(
    "--lanes",
    "names",
    callback=_parse_lane_names,
    default=",".join(lanes.NAMES),
    show_default=True,
    help="Lanes to run, with the slots of WORKER_LANES.",
)
@click.option("--once", is_flag=True, help="Run the jobs that are due, then exit.")
@click.option("--concurrency", type=int, hidden=True)
@cli.with_db_timeout
def worker(names: tuple[str, ...], once: bool, concurrency: int | None) -> None:
    """Run jobs until SIGTERM or Ctrl-C.

    Each lane has slots, threads and database connections of its own. Running jobs are finished
    first. The worker needs a direct connection to Postgres, not one through a pooler in transaction
    mode.
    """
    settings: Settings = current_app.extensions["settings"]
    worker_lanes = lanes.from_settings(settings, names)
    databases = _open_databases(settings.worker_dsn, worker_lanes)
    _exit_on_foreign_database(settings, wait=not once)
    _join_web_metrics(settings)
    if not once:
        model_checks.start(call_services.current_services().models)
    if concurrency is not None:
        log.get_logger().warning("worker.concurrency_ignored", replacement="WORKER_LANES")
    log.get_logger().info(
        "worker.started",
        lanes={lane.name: lane.slots for lane in worker_lanes},
        database_connections=lanes.count_connections(worker_lanes),
        tasks=sorted(queue.TASKS),
    )
    worker_loop.run_worker(
        settings.worker_dsn, worker_lanes=worker_lanes, databases=databases, wait=not once
    )


def _open_databases(dsn: str, worker_lanes: Sequence[Lane]) -> dict[str, Database]:
    """Return the connection pool of each lane, and set a small one for the rest of the process."""
    configured = db.current_database()
    db.set_current_database(configured.with_dsn(dsn, pool_size=lanes.PROCESS_CONNECTIONS))
    return {
        lane.name: configured.with_dsn(dsn, pool_size=lane.job_connections) for lane in worker_lanes
    }


def _join_web_metrics(settings: Settings) -> None:
    """Add this process's metrics to those that the web server of this machine exports."""
    if settings.metrics_folder is None:
        return
    try:
        prometheus.configure_metrics(settings.metrics_folder)
        prometheus.merge_dead_process_files(settings.metrics_folder)
    except OSError as error:
        cli.fail(f"METRICS_DIR cannot be written to: {error}.")


def _exit_on_foreign_database(settings: Settings, *, wait: bool) -> None:
    """Exit unless the database is this deployment's own; with `wait`, wait until it is available.

    With a restored copy, the worker would register numbers and repeat the work of the original.
    """
    identity = deployment.from_settings(settings)
    while True:
        try:
            with public_session() as session:
                differences = deployment.check_identity(session, identity)
            break
        except DatabaseFailure as error:
            if not wait:
                raise
            log.get_logger().warning("worker.database_away", exc_info=error)
            time.sleep(worker_loop.RECONNECT_PAUSE_S)
    if differences:
        cli.fail(
            f"This database belongs to another deployment: {'; '.join(differences)}. To use a copy,"
            " run `flask db adopt`."
        )
