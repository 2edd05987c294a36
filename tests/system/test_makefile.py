"""The Makefile, as far as `make -n` and `make help` show it."""

import os
import shutil
import subprocess

import pytest

from tests.system.conftest import ROOT
from vca.devtools.dev_server import DEFAULT_CALL_NUMBER

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def _make(*arguments: str) -> str:
    # Do not inherit the variables of a `make` that runs these tests.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    result = subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return result.stdout


def test_make_without_arguments_lists_every_target() -> None:
    target_names = [line.split()[1] for line in _make().splitlines()]

    tests = ["test", "test-fast", "test-all", "chaos"]
    upkeep = ["lint", "catalogues", "lock", "bench"]
    assert target_names == ["help", "setup", "run", "call", *tests, *upkeep]


def test_the_descriptions_of_the_targets_line_up() -> None:
    lines = _make("help").splitlines()

    columns = {len(line) - len(line.split(maxsplit=2)[2]) for line in lines}

    assert columns == {19}


def test_run_and_test_start_with_setup() -> None:
    setup = _make("-n", "setup")

    assert _make("-n", "run") == setup + ".venv/bin/python -m flask --app wsgi up\n"
    assert _make("-n", "test").startswith(setup)


def test_call_simulates_a_call_to_the_default_or_a_given_number() -> None:
    assert f"simulate '{DEFAULT_CALL_NUMBER}'" in _make("-n", "call")
    assert "simulate '+442079460123'" in _make("-n", "call", "DID=+442079460123")
