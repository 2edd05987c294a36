"""Tests of the circuit breaker: failures, pauses, trial requests and concurrency limits."""

import pytest

from vca.kit.circuit_breaker import CircuitBreaker, CircuitOpen, EndpointBreakers


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time_s = 1_000.0

    def __call__(self) -> float:
        return self.time_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> EndpointBreakers:
    return EndpointBreakers(
        max_failures=3, pause_s=30.0, max_concurrent=2, max_endpoints=4, now=clock
    )


def _call(circuit: EndpointBreakers, endpoint: str = "acme", *, succeeded: bool) -> None:
    circuit.begin(endpoint)
    circuit.end(endpoint, succeeded=succeeded)


def test_consecutive_failures_open_the_circuit_for_the_pause(
    circuit: EndpointBreakers, clock: Clock
) -> None:
    for _ in range(3):
        _call(circuit, succeeded=False)

    with pytest.raises(CircuitOpen, match="it failed 3 times in a row"):
        circuit.begin("acme")
    clock.time_s += 30
    circuit.begin("acme")


def test_a_success_resets_the_failure_count(circuit: EndpointBreakers) -> None:
    for succeeded in (False, False, True, False, False):
        _call(circuit, succeeded=succeeded)

    circuit.begin("acme")


def test_one_trial_call_after_the_pause_closes_the_circuit(
    circuit: EndpointBreakers, clock: Clock
) -> None:
    for _ in range(3):
        _call(circuit, succeeded=False)
    clock.time_s += 30

    circuit.begin("acme")
    with pytest.raises(CircuitOpen):
        circuit.begin("acme")
    circuit.end("acme", succeeded=True)

    for _ in range(2):
        circuit.begin("acme")


def test_a_failed_trial_call_opens_the_circuit_again(
    circuit: EndpointBreakers, clock: Clock
) -> None:
    for _ in range(3):
        _call(circuit, succeeded=False)
    clock.time_s += 30

    _call(circuit, succeeded=False)

    with pytest.raises(CircuitOpen, match="it failed 4 times in a row"):
        circuit.begin("acme")


def test_concurrent_calls_are_limited_for_each_endpoint(
    circuit: EndpointBreakers,
) -> None:
    for _ in range(2):
        circuit.begin("acme")

    with pytest.raises(CircuitOpen, match="2 calls are waiting"):
        circuit.begin("acme")
    circuit.begin("globex")
    circuit.end("acme", succeeded=True)
    circuit.begin("acme")


def test_above_the_limit_the_oldest_failing_endpoints_are_forgotten(
    circuit: EndpointBreakers,
) -> None:
    for endpoint in "abcdef":
        for _ in range(3):
            _call(circuit, endpoint, succeeded=False)

    for endpoint in "ab":
        circuit.begin(endpoint)
    for endpoint in "cdef":
        with pytest.raises(CircuitOpen):
            circuit.begin(endpoint)


# --- The circuit breaker of one server, whose caller decides what a failure is ---


@pytest.fixture
def reasons() -> list[str]:
    """Return the reasons for which the circuit has opened."""
    return []


@pytest.fixture
def breaker(clock: Clock, reasons: list[str]) -> CircuitBreaker:
    breaker = CircuitBreaker(max_failures=1, pause_s=0.5, trial_s=2.5, now=clock)
    breaker.add_observer(reasons.append)
    return breaker


def _is_open(breaker: CircuitBreaker) -> bool:
    try:
        breaker.enter(lambda: True)
    except CircuitOpen:
        return True
    return False


def test_the_opening_is_reported_once_until_the_next_success(
    breaker: CircuitBreaker, reasons: list[str]
) -> None:
    for reason in ("connection_failed", "server_error"):
        breaker.failed(reason)
    assert reasons == ["connection_failed"]

    breaker.succeeded()
    breaker.failed("server_error")

    assert reasons == ["connection_failed", "server_error"]


def test_another_trial_follows_if_the_first_has_no_result(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    breaker.failed("connection_failed")
    clock.time_s += 0.5
    assert not _is_open(breaker)
    clock.time_s += 2.4
    assert _is_open(breaker)

    clock.time_s += 0.1

    assert not _is_open(breaker)


def test_a_trial_that_learned_nothing_is_repeated_after_the_pause(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    breaker.failed("connection_failed")
    clock.time_s += 0.5
    breaker.enter()
    breaker.undecided()
    assert _is_open(breaker)

    clock.time_s += 0.5

    assert not _is_open(breaker)


@pytest.mark.parametrize("responds", [True, False])
def test_a_suspicion_is_examined_before_the_next_call(
    breaker: CircuitBreaker, reasons: list[str], responds: bool
) -> None:
    breaker.suspect()
    probes: list[bool] = []

    def probe() -> bool:
        probes.append(responds)
        return responds

    for _ in range(2):
        if responds:
            breaker.enter(probe)
        else:
            with pytest.raises(CircuitOpen):
                breaker.enter(probe)

    assert probes == [responds]
    assert reasons == ([] if responds else ["no_response"])
