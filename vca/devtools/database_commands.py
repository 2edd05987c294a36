"""`flask db start`, `stop` and `status`: commands for the embedded Postgres server."""

from pathlib import Path

import click
from flask.cli import with_appcontext

from vca import cli
from vca.devtools import embedded_postgres
from vca.devtools.embedded_postgres import EmbeddedError
from vca.services import current_services


@click.command("start", short_help="Start the embedded Postgres.")
@cli.as_json
@with_appcontext
def start(as_json: bool) -> None:
    """Start the embedded Postgres if it is not running."""
    folder = _embedded_folder()
    try:
        result = embedded_postgres.start(folder)
        status = embedded_postgres.status(folder).as_dict()
    except EmbeddedError as error:
        cli.fail(str(error))
    word = "started" if result.started_now else "is already running"
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
    text = (
        "The embedded Postgres was stopped."
        if stopped
        else "The embedded Postgres was not running."
    )
    cli.print_result({"stopped": stopped}, as_json=as_json, text=text)


@click.command("status", short_help="Show the embedded Postgres server.")
@cli.as_json
@with_appcontext
def status(as_json: bool) -> None:
    """Show the embedded Postgres: folder, state and URLs."""
    try:
        status_facts = embedded_postgres.status(_embedded_folder()).as_dict()
    except EmbeddedError as error:
        cli.fail(str(error))
    cli.print_result(status_facts, as_json=as_json, text=cli.format_record(status_facts))


def _embedded_folder() -> Path:
    folder: Path | None = current_services().settings.embedded_folder
    if folder is None:
        raise click.ClickException("DATABASE_URL does not name an embedded server.")
    return folder
