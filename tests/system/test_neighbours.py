"""A quiet tenant beside each busy client of `python -m benchmarks neighbours`. Counts only."""

import os
import subprocess
import sys

import pytest

from benchmarks.neighbours.busy_clients import SCENARIOS
from vca.settings import ROOT

SECONDS = 7
TIMEOUT_S = 400


def test_no_busy_client_makes_a_request_of_another_tenant_fail_or_its_call_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BENCH_DATABASE_URL", raising=False)
    options = ["--counts-only", "--seconds", str(SECONDS)]

    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks", "neighbours", *options],
        cwd=ROOT,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert completed.returncode == 0, completed.stderr
    assert all(f"{name}: " in completed.stderr for name in SCENARIOS)
