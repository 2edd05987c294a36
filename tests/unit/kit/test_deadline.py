"""Deadlines: their time, the budget of a request, and polling."""

import pytest

from vca.kit import deadline
from vca.kit.deadline import Deadline, DeadlineExceeded


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that the module's clock shows; sleeping advances it."""
    time_s = [1_000.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: time_s[0])

    def sleep(seconds: float) -> None:
        time_s[0] += seconds

    monkeypatch.setattr(deadline, "sleep", sleep)
    return time_s


def test_the_remaining_time_decreases_to_zero(clock: list[float]) -> None:
    limit = Deadline.after(2.0)
    clock[0] += 1.5
    assert (limit.remaining_s, limit.require_s()) == (0.5, 0.5)

    for seconds in (0.5, 10.0):
        clock[0] += seconds
        assert limit.remaining_s == 0
        with pytest.raises(DeadlineExceeded):
            limit.require_s()


def test_a_passed_deadline_is_a_timeout_like_that_of_a_socket() -> None:
    with pytest.raises(TimeoutError):
        Deadline.after(-1).require_s()


@pytest.mark.parametrize(("seconds", "remaining_s"), [(1.0, 1.0), (5.0, 3.0), (-1.0, 0.0)])
def test_a_deadline_can_only_be_shortened(
    clock: list[float], seconds: float, remaining_s: float
) -> None:
    limit = Deadline.after(3.0)

    assert limit.shortened(seconds).remaining_s == remaining_s
    assert limit.remaining_s == 3.0


def test_the_budget_of_the_block_bounds_a_deadline(clock: list[float]) -> None:
    assert deadline.remaining_s() is None
    assert Deadline.within_budget(5.0).remaining_s == 5.0
    with deadline.within(2.0):
        assert Deadline.within_budget(5.0).remaining_s == 2.0
        assert Deadline.within_budget(1.0).remaining_s == 1.0
        with deadline.within(8.0):
            assert deadline.remaining_s() == 8.0
        clock[0] += 3.0
        assert deadline.remaining_s() == 0
        assert Deadline.within_budget(5.0).remaining_s == 0
    assert deadline.remaining_s() is None


def test_waiting_ends_with_the_condition_or_at_the_deadline(clock: list[float]) -> None:
    assert Deadline.after(1.0).wait_until(lambda: clock[0] >= 1_000.5, poll_interval_s=0.25)
    assert clock[0] == 1_000.5

    assert not Deadline.after(1.0).wait_until(lambda: False, poll_interval_s=0.3)
    assert clock[0] == 1_001.5
    assert Deadline.after(0).wait_until(lambda: True)
