"""Test of every command on an empty database: it fails with a message and no traceback."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask
from sqlalchemy import make_url

from tests.support import databases
from tests.support.services import open_database, use_database, use_settings
from vca.cli import LazyCommand
from vca.settings import Settings

# These commands start servers, or need the embedded server.
EXCLUDED = {"up", "db start", "db stop", "db status", "db upgrade"}
VALUES_BY_TYPE = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "integer": "1",
    "text": "+14155550100",
}
EXTRA_ARGUMENTS = {
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
def app_without_upgrade(
    request: pytest.FixtureRequest, app: Flask, settings: Settings, database_url: str
) -> Iterator[Flask]:
    """Return the app with the logins of owner, web and worker on an empty database."""
    server = request.getfixturevalue("database_server")
    owner_url = server.create_empty(f"{make_url(database_url).database}_never_upgraded")
    web_url = databases.as_login(owner_url, databases.WEB)
    use_settings(
        database_url=web_url,
        worker_database_url=databases.as_login(owner_url, databases.WORKER),
        migration_database_url=owner_url,
    )
    database = use_database(open_database(web_url))
    yield app
    database.close()
    server.drop_database(make_url(owner_url).database or "")


def _list_commands(app: Flask) -> list[tuple[str, click.Command]]:
    """Return (name, command) of every command of `flask`."""
    commands: list[tuple[str, click.Command]] = []
    context = click.Context(app.cli)
    for name in app.cli.list_commands(context):
        command = app.cli.get_command(context, name)
        if isinstance(command, LazyCommand):
            command = command.load()
        if isinstance(command, click.Group):
            for subcommand_name in command.list_commands(context):
                subcommand = command.get_command(context, subcommand_name)
                assert subcommand is not None
                commands.append((f"{name} {subcommand_name}", subcommand))
        elif command is not None:
            commands.append((name, command))
    return commands


def _command_arguments(name: str, command: click.Command, folder: Path) -> list[str]:
    arguments = [*name.split(), *EXTRA_ARGUMENTS.get(name, [])]
    for parameter in command.params:
        if not parameter.required or f"--{parameter.name}" in arguments:
            continue
        if isinstance(parameter.type, click.Choice):
            value = str(parameter.type.choices[0])
        else:
            requires_folder = (
                isinstance(parameter.type, click.Path) and not parameter.type.file_okay
            )
            path = folder if requires_folder else folder / "file"
            value = VALUES_BY_TYPE.get(parameter.type.name, str(path))
        arguments += (
            [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
        )
    return arguments


def test_no_command_prints_a_traceback(app_without_upgrade: Flask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    runner = app_without_upgrade.test_cli_runner()
    results = {}
    for name, command in _list_commands(app_without_upgrade):
        if name in EXCLUDED:
            continue
        with app_without_upgrade.app_context():  # the `flask` command does the same
            result = runner.invoke(args=_command_arguments(name, command, tmp_path))

        assert isinstance(result.exception, SystemExit | None), (name, result.output)
        assert "Traceback" not in result.output, name
        results[name] = (result.exit_code, result.output)

    assert {name for name, (exit_code, _) in results.items() if exit_code == 2} == set(), results
    commands_with_hint = {
        name for name, (_, output) in results.items() if "flask db upgrade" in output
    }
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
    } <= commands_with_hint
