"""A process with invalid settings does not start, and prints what is wrong."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.settings.settings_environments import INVALID, PRODUCTION, REQUIRED, VALID
from tests.support.ast_index import ROOT
from tests.support.fork_server import ForkedProcess, current_fork_server
from vca.settings import EX_CONFIG, Settings

BIN_FOLDER = Path(sys.executable).parent
COMMANDS = {
    "gunicorn": [str(BIN_FOLDER / "gunicorn"), "wsgi:app"],
    "flask": [str(BIN_FOLDER / "flask"), "tenants", "list"],
}


@dataclass(frozen=True)
class StartedProcess:
    """A process whose output goes to the files `out` and `err` in a folder."""

    process: "subprocess.Popen[bytes] | ForkedProcess"
    folder: Path

    def wait(self) -> tuple[int, str, str]:
        """Return the exit status, the standard output and the standard error."""
        try:
            status = self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
        return status, (self.folder / "out").read_text(), (self.folder / "err").read_text()


def _start(
    command: str, environment: Mapping[str, str], folder: Path, *, use_subprocess: bool = False
) -> StartedProcess:
    """Start a process: forked with its imports done, or a new one with `use_subprocess`.

    Empty values override the settings of a `.env` file in the repository.
    """
    unset_settings = dict.fromkeys((name.upper() for name in Settings.__dataclass_fields__), "")
    process_environment = {"PATH": os.environ["PATH"], **unset_settings, **environment}
    arguments = COMMANDS[command]
    folder.mkdir(exist_ok=True)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        if use_subprocess:
            return StartedProcess(
                subprocess.Popen(
                    arguments, cwd=ROOT, env=process_environment, stdout=out, stderr=err
                ),
                folder,
            )
        return StartedProcess(
            current_fork_server().start(
                arguments, process_environment, out.fileno(), errors=err.fileno()
            ),
            folder,
        )


def test_the_server_exits_and_names_the_one_missing_setting(tmp_path: Path) -> None:
    processes = {
        name: _start("gunicorn", {**VALID, name: ""}, tmp_path / name) for name in REQUIRED
    }

    for name, process in processes.items():
        status, _, err = process.wait()
        assert status == EX_CONFIG, name
        assert err == f"VCA cannot start: {name} is missing\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_process_prints_a_line_for_each_invalid_setting_and_exits(
    command: str, tmp_path: Path
) -> None:
    status, out, err = _start(command, INVALID, tmp_path, use_subprocess=True).wait()

    assert (status, out) == (EX_CONFIG, "")
    lines_by_setting = {line.split()[3]: line for line in err.splitlines()}
    assert list(lines_by_setting) == list(REQUIRED)
    assert lines_by_setting.pop("APP_NAME") == "VCA cannot start: APP_NAME is missing"
    for name, line in lines_by_setting.items():
        assert line.startswith(f"VCA cannot start: {name} must be ")
    assert INVALID["SECRET_KEY"] not in err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_production_process_rejects_every_development_setting(
    command: str, tmp_path: Path
) -> None:
    development_values = {
        "DATABASE_URL": "embedded:.vca/postgres",
        "DEBUG": "true",
        "SECRET_KEY": "change-me-and-be-at-least-32-characters",
        "API_KEY_PEPPERS": "change-me",
        "TELEPHONY_PROVIDER": "fake",
        "CRASH_DIR": "armed",
    }

    status, _, err = _start(command, {**PRODUCTION, **development_values}, tmp_path).wait()

    assert status == EX_CONFIG
    for name in (*development_values, "PUBLIC_BASE_URL"):
        assert f"VCA cannot start: {name} " in err
    assert len(err.splitlines()) == len(development_values) + 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_process_rejects_a_range_of_premium_rate_numbers(command: str, tmp_path: Path) -> None:
    settings = {**VALID, "DIALLABLE_PREFIXES": "+1900=US"}

    status, out, err = _start(command, settings, tmp_path).wait()

    assert (status, out) == (EX_CONFIG, "")
    assert err.startswith("VCA cannot start: DIALLABLE_PREFIXES must be ")
    assert "premium-rate" in err


def test_a_process_connects_with_a_url_that_begins_with_postgres(
    database_url: str, tmp_path: Path
) -> None:
    url = database_url.replace("postgresql://", "postgres://")

    status, out, err = _start("flask", {**VALID, "DATABASE_URL": url}, tmp_path).wait()

    assert (status, err) == (0, "")
    assert out
