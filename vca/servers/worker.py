"""`flask worker`: run the jobs that requests and other jobs have enqueued."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import click

from vca import cli
from vca.jobs import lanes, queue, worker_loop
from vca.jobs.lanes import Lane
from vca.jobs.worker_loop import TaskRunner
from vca.kit.db import DatabaseFailure
from vca.observability import log, prometheus
from vca.registry import deployment
from vca.registry.model_checks import background as model_checks
from vca.registry.tenants import service as tenant_service
from vca.services import Services, current_services
from vca.settings import Settings
from vca.tenancy.session import public_session


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
    settings = current_services().settings
    worker_lanes = lanes.from_settings(settings, names)
    services = _with_pool(current_services(), lanes.PROCESS_CONNECTIONS)
    _exit_on_foreign_database(wait=not once, services=services)
    _join_web_metrics(settings)
    if not once:
        model_checks.start(services=services)
    if concurrency is not None:
        log.get_logger().warning("worker.concurrency_ignored", replacement="WORKER_LANES")
    log.get_logger().info(
        "worker.started",
        lanes={lane.name: lane.slots for lane in worker_lanes},
        database_connections=lanes.count_connections(worker_lanes),
        tasks=sorted(queue.TASKS),
    )
    worker_loop.run_worker(
        settings.worker_dsn,
        worker_lanes=worker_lanes,
        run_task=partial(task_runner, services=services),
        wait=not once,
    )


def _with_pool(services: Services, pool_size: int) -> Services:
    """Return the same services with a connection pool of the worker's login."""
    pool = services.database.with_dsn(services.settings.worker_dsn, pool_size=pool_size)
    return replace(services, database=pool)


def task_runner(lane: Lane, *, services: Services) -> TaskRunner:
    """Return the function that calls the tasks of a lane, which has connections of its own."""
    return partial(run_task, services=_with_pool(services, lane.job_connections))


def run_task(function: Callable[..., None], args: Mapping[str, Any], *, services: Services) -> None:
    """Call a task. Raises TenantUpgrading if its tenant's schema is too old for this code."""
    if "tenant_id" in args:
        tenant_service.require_supported_schema(UUID(args["tenant_id"]), services=services)
    function(services=services, **args)


def _join_web_metrics(settings: Settings) -> None:
    """Add this process's metrics to those that the web server of this machine exports."""
    if settings.metrics_folder is None:
        return
    try:
        prometheus.configure_metrics(settings.metrics_folder)
        prometheus.merge_dead_process_files(settings.metrics_folder)
    except OSError as error:
        cli.fail(f"METRICS_DIR cannot be written to: {error}.")


def _exit_on_foreign_database(*, wait: bool, services: Services) -> None:
    """Exit unless the database is this deployment's own; with `wait`, wait until it is available.

    With a restored copy, the worker would register numbers and repeat the work of the original.
    """
    identity = deployment.from_settings(services.settings)
    while True:
        try:
            with public_session(database=services.database) as session:
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
