"""The Makefile, as far as it can be seen without running it."""

import os
import shutil
import subprocess

import pytest

from tests.system.conftest import ROOT
from vca.devtools.dev_server import DEFAULT_CALL_NUMBER

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def _make(*arguments: str) -> str:
    # Apart from the make that may run these tests.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    made = subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return made.stdout


def test_make_alone_lists_every_target() -> None:
    listed = [line.split()[1] for line in _make().splitlines()]

    tests = ["test", "test-fast", "test-all", "chaos"]
    assert listed == ["help", "setup", "run", "call", *tests, "lint", "bench"]


def test_run_and_test_share_setup() -> None:
    setup = _make("-n", "setup")

    assert _make("-n", "run") == setup + ".venv/bin/python -m flask --app wsgi up\n"
    assert _make("-n", "test").startswith(setup)


def test_call_rings_the_number_that_the_summary_promises_or_another() -> None:
    assert f"simulate '{DEFAULT_CALL_NUMBER}'" in _make("-n", "call")
    assert "simulate '+442079460123'" in _make("-n", "call", "DID=+442079460123")
