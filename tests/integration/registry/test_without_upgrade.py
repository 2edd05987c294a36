"""Every command on a database that was never upgraded says so in one sentence."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.support import databases
from vca.kit import db
from vca.kit.db import Database
from vca.settings import Settings

# They start servers, or are about the embedded server, which this deployment has not.
EXCLUDED = {"up", "db start", "db stop", "db status", "db upgrade"}
VALUES = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "integer": "1",
    "text": "+14155550100",
}
MORE_WORDS = {
    "api-keys create": ["--platform", "--name", "ops"],
    "api-keys list": ["--platform"],
    "calls hangup": ["--all"],
    "tenants create": ["--name", "Acme"],
    "tenants purge": ["--yes"],
    "tenants erase": ["--yes"],
    "telephony reregister": ["--all"],
    "worker": ["--once"],
}


@pytest.fixture
def never_upgraded(
    request: pytest.FixtureRequest, app: Flask, settings: Settings, database_url: str
) -> Iterator[Flask]:
    """The app on an empty database, with the owner's, the web's and the worker's logins."""
    server = request.getfixturevalue("database_server")
    url = server.create_empty(f"{make_url(database_url).database}_never_upgraded")
    web = databases.as_login(url, databases.WEB)
    app.extensions["settings"] = replace(
        settings,
        database_url=web,
        worker_database_url=databases.as_login(url, databases.WORKER),
        migration_database_url=url,
    )
    database = db.set_current_database(Database(web))
    yield app
    database.close()
    server.drop_database(make_url(url).database or "")


def _commands(app: Flask) -> list[tuple[str, click.Command]]:
    """Every command below `flask`, with its name."""
    found: list[tuple[str, click.Command]] = []
    context = click.Context(app.cli)
    for name in app.cli.list_commands(context):
        command = app.cli.get_command(context, name)
        if isinstance(command, click.Group):
            subcommands = command.list_commands(context)
            found += [(f"{name} {sub}", command.get_command(context, sub)) for sub in subcommands]
        elif command is not None:
            found.append((name, command))
    return found


def _words(name: str, command: click.Command, folder: Path) -> list[str]:
    words = [*name.split(), *MORE_WORDS.get(name, [])]
    for parameter in command.params:
        if not parameter.required or f"--{parameter.name}" in words:
            continue
        if isinstance(parameter.type, click.Choice):
            value = str(parameter.type.choices[0])
        else:
            folder_only = isinstance(parameter.type, click.Path) and not parameter.type.file_okay
            path = folder if folder_only else folder / "file"
            value = VALUES.get(parameter.type.name, str(path))
        words += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
    return words


def test_no_command_prints_a_traceback(never_upgraded: Flask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    runner = never_upgraded.test_cli_runner()
    results = {}
    for name, command in _commands(never_upgraded):
        if name in EXCLUDED:
            continue
        with never_upgraded.app_context():  # as the `flask` command does for each of them
            result = runner.invoke(args=_words(name, command, tmp_path))

        assert isinstance(result.exception, SystemExit | None), (name, result.output)
        assert "Traceback" not in result.output, name
        results[name] = (result.exit_code, result.output)

    assert {name for name, (status, _) in results.items() if status == 2} == set(), results
    hinted = {name for name, (_, output) in results.items() if "flask db upgrade" in output}
    assert len(results) > 35
    assert {
        "tenants create",
        "tenants migrate",
        "tenants list",
        "api-keys create",
        "db roles",
        "db check",
        "worker",
        "dids list",
        "usage plans",
    } <= hinted
