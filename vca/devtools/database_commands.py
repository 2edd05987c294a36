"""`flask db start`, `stop` and `status`: the embedded Postgres server."""

from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from vca import cli
from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import EmbeddedError


@click.command("start")
@cli.as_json
@with_appcontext
def start(as_json: bool) -> None:
    """Start the embedded Postgres, if it does not run yet."""
    folder = _embedded_folder()
    try:
        result = embedded_postgres.start(folder)
        status = embedded_postgres.status(folder).as_dict()
    except EmbeddedError as error:
        cli.fail(str(error))
    word = "started" if result.started_now else "runs already"
    text = f"The embedded Postgres {word} (pid {status['pid']}).\n{status['url']}"
    cli.print_result({**status, "started": result.started_now}, as_json=as_json, text=text)


@click.command("stop")
@cli.as_json
@with_appcontext
def stop(as_json: bool) -> None:
    """Stop the embedded Postgres."""
    try:
        stopped = embedded_postgres.stop(_embedded_folder())
    except EmbeddedError as error:
        cli.fail(str(error))
    text = "The embedded Postgres stopped." if stopped else "The embedded Postgres did not run."
    cli.print_result({"stopped": stopped}, as_json=as_json, text=text)


@click.command("status")
@cli.as_json
@with_appcontext
def status(as_json: bool) -> None:
    """Show where the embedded Postgres lives, whether it runs, and how to reach it."""
    try:
        status_facts = embedded_postgres.status(_embedded_folder()).as_dict()
    except EmbeddedError as error:
        cli.fail(str(error))
    cli.print_result(status_facts, as_json=as_json, text=cli.format_record(status_facts))


def _embedded_folder() -> Path:
    folder: Path | None = current_app.extensions["settings"].embedded_folder
    if folder is None:
        raise click.ClickException("DATABASE_URL names a server of your own; nothing is embedded.")
    return folder
