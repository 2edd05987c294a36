"""`flask worker`: does the jobs that requests and other jobs have enqueued."""

import time

import click
from flask import current_app

from vca.kit import cli, db, jobs, log, meters, working
from vca.kit.config import Settings
from vca.kit.db import DatabaseFailure
from vca.registry import deployment
from vca.tenancy.session import public


@click.command("worker")
@click.option("--concurrency", default=4, show_default=True, help="Jobs done side by side.")
@click.option("--once", is_flag=True, help="Do what is due now, then end.")
@cli.bounded
def worker(concurrency: int, once: bool) -> None:
    """Do jobs until SIGTERM or Ctrl-C; those at work are finished first.

    Needs a direct connection to Postgres, not one through a pooler in transaction mode.
    """
    settings: Settings = current_app.extensions["settings"]
    size = max(settings.database_pool_size, concurrency)
    db.use(db.current().elsewhere(settings.worker_dsn, pool_size=size))
    _refuse_a_copy(settings, wait=not once)
    _count_with_the_web(settings)
    log.get().info("worker.started", tasks=sorted(jobs.TASKS))
    working.run_worker(settings.worker_dsn, concurrency=concurrency, wait=not once)


def _count_with_the_web(settings: Settings) -> None:
    """What this process counts is added to what the web server of this machine answers."""
    if settings.metrics_folder is None:
        return
    try:
        meters.count_in(settings.metrics_folder)
        meters.settle(settings.metrics_folder)
    except OSError as error:
        cli.fail(f"METRICS_DIR cannot be written to: {error}.")


def _refuse_a_copy(settings: Settings, *, wait: bool) -> None:
    """End unless the database is this deployment's own; with `wait`, wait until it can be asked.

    A restored copy would otherwise register numbers and do once more what the original does.
    """
    configured = deployment.configured(settings)
    while True:
        try:
            with public() as session:
                differences = deployment.check_identity(session, configured)
            break
        except DatabaseFailure as error:
            if not wait:
                raise
            log.get().warning("worker.database_away", exc_info=error)
            time.sleep(working.PAUSE_S)
    if differences:
        cli.fail(
            f"This database is another deployment's: {'; '.join(differences)}. If it is a copy that"
            " you mean to use, run `flask db adopt`."
        )
