"""`flask worker`: run the jobs that requests and other jobs have enqueued."""

import time

import click
from flask import current_app

from vca import cli
from vca.jobs import queue, worker_loop
from vca.kit import db
from vca.kit.db import DatabaseFailure
from vca.observability import log, prometheus
from vca.registry import deployment
from vca.registry.model_checks import background as model_checks
from vca.settings import Settings
from vca.tenancy.session import public_session
from vca.tenant.calls.core import call_services


@click.command("worker")
@click.option(
    "--concurrency", default=4, show_default=True, help="Number of jobs to run at the same time."
)
@click.option("--once", is_flag=True, help="Run the jobs that are due, then exit.")
@cli.with_db_timeout
def worker(concurrency: int, once: bool) -> None:
    """Run jobs until SIGTERM or Ctrl-C.

    Running jobs are finished first. The worker needs a direct connection to Postgres, not one
    through a pooler in transaction mode.
    """
    settings: Settings = current_app.extensions["settings"]
    size = max(settings.database_pool_size, concurrency)
    db.set_current_database(db.current_database().with_dsn(settings.worker_dsn, pool_size=size))
    _exit_on_foreign_database(settings, wait=not once)
    _join_web_metrics(settings)
    if not once:
        model_checks.start(call_services.current_services().models)
    log.get_logger().info("worker.started", tasks=sorted(queue.TASKS))
    worker_loop.run_worker(settings.worker_dsn, concurrency=concurrency, wait=not once)


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
