"""A quiet tenant beside each busy client of `python -m benchmarks neighbours`. Counts only."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from benchmarks.neighbours.busy_clients import SCENARIOS
from benchmarks.neighbours.runner import RoundRunner
from benchmarks.neighbours.service import Service, start_service

SECONDS = 7.0


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Run the service on a Postgres server of its own."""
    monkeypatch.delenv("BENCH_DATABASE_URL", raising=False)
    with ExitStack() as stack:
        yield start_service(stack, busy_tenants=len(SCENARIOS))


def test_no_busy_client_makes_a_request_of_another_tenant_fail_or_a_call_wait_for_ever(
    service: Service,
) -> None:
    runner = RoundRunner(service, SECONDS)

    for name in SCENARIOS:
        neighbour_round = runner.run_beside(name)

        assert neighbour_round.load.unsuccessful_requests == 0, (name, neighbour_round.load)
        assert neighbour_round.dial_delays_s, name
        assert None not in neighbour_round.dial_delays_s, name
