"""`flask db`: the embedded server, and the public schema."""

from pathlib import Path

import click
from flask import current_app

from vca.kit import cli, embedded
from vca.kit.embedded import EmbeddedError
from vca.registry import deployment, owner, schema
from vca.registry.deployment import Deployment

db_commands = cli.Group("db", help="The database: the embedded server, and the public schema.")


@db_commands.command("start")
@cli.as_json
def start(as_json: bool) -> None:
    """Start the embedded Postgres, if it does not run yet."""
    folder = _folder()
    try:
        started = embedded.start(folder)
        status = embedded.status(folder).as_dict()
    except EmbeddedError as error:
        cli.fail(str(error))
    word = "started" if started.by_this_call else "runs already"
    text = f"The embedded Postgres {word} (pid {status['pid']}).\n{status['url']}"
    cli.emit({**status, "started": started.by_this_call}, as_json=as_json, text=text)


@db_commands.command("stop")
@cli.as_json
def stop(as_json: bool) -> None:
    """Stop the embedded Postgres."""
    try:
        stopped = embedded.stop(_folder())
    except EmbeddedError as error:
        cli.fail(str(error))
    text = "The embedded Postgres stopped." if stopped else "The embedded Postgres did not run."
    cli.emit({"stopped": stopped}, as_json=as_json, text=text)


@db_commands.command("status")
@cli.as_json
def status(as_json: bool) -> None:
    """Show where the embedded Postgres lives, whether it runs, and how to reach it."""
    try:
        found = embedded.status(_folder()).as_dict()
    except EmbeddedError as error:
        cli.fail(str(error))
    cli.emit(found, as_json=as_json, text=cli.card(found))


@db_commands.command("upgrade")
@cli.as_json
def upgrade(as_json: bool) -> None:
    """Migrate the public schema, and install the compiled schema of new tenants."""
    with owner.database() as database:
        before, after = schema.upgrade(database, _configured())
    text = f"public: {before or 'empty'} → {after}" if before != after else f"public: {after}"
    cli.emit({"before": before, "after": after}, as_json=as_json, text=text)


def _configured() -> Deployment:
    return deployment.configured(current_app.extensions["settings"])


def _folder() -> Path:
    folder: Path | None = current_app.extensions["settings"].embedded_folder
    if folder is None:
        raise click.ClickException("DATABASE_URL names a server of your own; nothing is embedded.")
    return folder
