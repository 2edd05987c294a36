"""`flask db`: the embedded server, and the public schema."""

from pathlib import Path

import click
from flask import current_app
from sqlalchemy import text

from vca.kit import cli, embedded
from vca.kit.embedded import EmbeddedError
from vca.registry import deployment, fitness, owner, privileges, schema
from vca.registry.deployment import Deployment
from vca.tenancy.session import public

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


@db_commands.command("roles")
@click.option("--apply", "do", is_flag=True, help="Grant them, as the owner.")
@cli.as_json
def roles(do: bool, as_json: bool) -> None:
    """Print the grants of the web's and the worker's logins, and make tenants' missing roles."""
    who = _configured().roles
    with owner.database() as database:
        with public(database=database) as session:
            name = str(session.scalar(text("SELECT current_database()")))
        granted = privileges.statements(name, who)
        missing = privileges.without_role(database, who)
        if do:
            with public(database=database) as session:
                deployment.note(session, _configured())
                privileges.apply(session, who)
            restored = privileges.restore_roles(database, who)
        else:
            restored = []
    facts = {
        "statements": granted,
        "applied": do,
        "roles_missing": [str(tenant_id) for tenant_id in missing],
        "roles_restored": [str(tenant_id) for tenant_id in restored],
    }
    lines = [f"{statement};" for statement in granted]
    if do:
        lines = [f"{len(granted)} grants applied, {len(restored)} roles restored."]
    elif missing:
        lines.append(f"-- {len(missing)} tenants have no role: --apply makes them")
    cli.emit(facts, as_json=as_json, text="\n".join(lines))


@db_commands.command("check")
@cli.as_json
def check(as_json: bool) -> None:
    """Prove that the server gives what VCA needs; exit status 1 if something is missing."""
    found = [finding.as_dict() for finding in fitness.check(current_app.extensions["settings"])]
    shown = cli.table(found, ("verdict", "what", "tenants", "detail"))
    cli.emit(found, as_json=as_json, text=shown)
    if any(finding["verdict"] == "failed" for finding in found):
        raise SystemExit(1)


@db_commands.command("adopt")
@cli.as_json
def adopt(as_json: bool) -> None:
    """Make a restored copy of another deployment's database this deployment's own.

    Its worker refuses to start before: it would call, register and answer as the original.
    """
    ours = _configured()
    with owner.database() as database, public(database=database) as session:
        noted = deployment.found(session)
        differences = noted.differences(ours) if noted is not None else []
        deployment.note(session, ours)
        deployment.adopt(session, ours)
    told = "\n".join([*differences, "Adopted."]) if differences else "It is ours already."
    cli.emit({"adopted": bool(differences), "differences": differences}, as_json=as_json, text=told)


def _configured() -> Deployment:
    return deployment.configured(current_app.extensions["settings"])


def _folder() -> Path:
    folder: Path | None = current_app.extensions["settings"].embedded_folder
    if folder is None:
        raise click.ClickException("DATABASE_URL names a server of your own; nothing is embedded.")
    return folder
