"""An endpoint that does not answer is left alone for a while, and never holds every thread."""

import pytest

from vca.kit.circuit_breaker import CircuitBreaker, CircuitOpen


class Clock:
    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(
        max_failures=3, pause_s=30.0, max_concurrent=2, max_endpoints=4, now=clock
    )


def _ask(circuit: CircuitBreaker, endpoint: str = "acme", *, worked: bool) -> None:
    circuit.begin(endpoint)
    circuit.end(endpoint, succeeded=worked)


def test_after_failures_in_a_row_nobody_asks_until_the_pause_is_over(
    circuit: CircuitBreaker, clock: Clock
) -> None:
    for _ in range(3):
        _ask(circuit, worked=False)

    with pytest.raises(CircuitOpen, match="it failed 3 times in a row"):
        circuit.begin("acme")
    clock.at += 30
    circuit.begin("acme")


def test_a_success_in_between_begins_the_count_anew(circuit: CircuitBreaker) -> None:
    for worked in (False, False, True, False, False):
        _ask(circuit, worked=worked)

    circuit.begin("acme")


def test_after_the_pause_one_finds_out_for_all(circuit: CircuitBreaker, clock: Clock) -> None:
    for _ in range(3):
        _ask(circuit, worked=False)
    clock.at += 30

    circuit.begin("acme")
    with pytest.raises(CircuitOpen):
        circuit.begin("acme")
    circuit.end("acme", succeeded=True)

    for _ in range(2):
        circuit.begin("acme")


def test_one_that_fails_again_is_left_alone_again(circuit: CircuitBreaker, clock: Clock) -> None:
    for _ in range(3):
        _ask(circuit, worked=False)
    clock.at += 30

    _ask(circuit, worked=False)

    with pytest.raises(CircuitOpen, match="it failed 4 times in a row"):
        circuit.begin("acme")


def test_no_more_than_a_few_wait_for_one_endpoint_and_others_are_free(
    circuit: CircuitBreaker,
) -> None:
    for _ in range(2):
        circuit.begin("acme")

    with pytest.raises(CircuitOpen, match="2 calls are waiting"):
        circuit.begin("acme")
    circuit.begin("globex")
    circuit.end("acme", succeeded=True)
    circuit.begin("acme")


def test_of_endpoints_without_number_those_that_failed_the_longest_ago_are_forgotten(
    circuit: CircuitBreaker,
) -> None:
    for endpoint in "abcdef":
        for _ in range(3):
            _ask(circuit, endpoint, worked=False)

    for endpoint in "ab":
        circuit.begin(endpoint)
    for endpoint in "cdef":
        with pytest.raises(CircuitOpen):
            circuit.begin(endpoint)
