"""Processes load only what they need: each start is downtime, and each command waits for it."""

import subprocess
import sys

import pytest

from tests.architecture.conftest import UNREACHABLE_SETTINGS
from vca import app
from vca.api.docs import ServedDocument
from vca.kit.hidden_packages import hide_packages

# jinja2 is not among them: flask imports it whenever it is imported itself.
_UNUSED_PACKAGES = {"rich", "pygments", "yaml"}


def _packages(modules: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def modules_of_help() -> frozenset[str]:
    """Return the modules that `flask --help` has loaded when it ends."""
    code = (
        "import sys; from flask.cli import cli\n"
        "try: cli.main(['--app', 'wsgi', '--help'])\n"
        "finally: print(*sys.modules, file=sys.stderr)\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code],
        env=UNREACHABLE_SETTINGS,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Manage API keys." in completed.stdout
    return frozenset(completed.stderr.split())


def test_no_program_loads_packages_that_only_development_tools_have(
    loaded_modules: frozenset[str],
) -> None:
    assert _packages(loaded_modules).isdisjoint(_UNUSED_PACKAGES)


def test_help_loads_neither_commands_nor_packages_of_development_tools(
    modules_of_help: frozenset[str],
) -> None:
    commands = {path.partition(":")[0] for path, _ in app.COMMANDS.values()}

    assert _packages(modules_of_help).isdisjoint({*_UNUSED_PACKAGES, "procrastinate", "alembic"})
    assert modules_of_help.isdisjoint(commands)


def test_the_openapi_document_is_built_once_and_only_when_it_is_needed() -> None:
    builds: list[dict[str, str]] = []

    def build() -> dict[str, str]:
        builds.append({"openapi": "3.0.3"})
        return builds[-1]

    document = ServedDocument(build)
    assert builds == []

    assert document.render() == document.render() == b'{"openapi":"3.0.3"}'
    assert len(builds) == 1


def test_hidden_packages_can_be_imported_after_the_block() -> None:
    sys.modules.pop("this", None)

    with hide_packages("this", "json"):
        with pytest.raises(ModuleNotFoundError):
            __import__("this")
        __import__("json")

    assert "this" not in sys.modules
    assert "json" in sys.modules
