"""`flask worker`: does the jobs that requests and other jobs have enqueued."""

import click
from flask import current_app

from vca.kit import cli, jobs, log


@click.command("worker")
@click.option("--concurrency", default=4, show_default=True, help="Jobs done side by side.")
@click.option("--once", is_flag=True, help="Do what is due now, then end.")
@cli.bounded
def worker(concurrency: int, once: bool) -> None:
    """Do jobs until SIGTERM or Ctrl-C; those at work are finished first.

    Needs a direct connection to Postgres, not one through a pooler in transaction mode.
    """
    dsn = current_app.extensions["settings"].worker_dsn
    log.get().info("worker.started", tasks=sorted(jobs.TASKS))
    jobs.run_worker(dsn, concurrency=concurrency, wait=not once)
