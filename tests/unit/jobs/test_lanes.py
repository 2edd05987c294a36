"""Lanes: the share of a tenant and the connections that follow from the slots."""

import pytest

from vca.jobs import lanes, queue
from vca.jobs.lanes import Lane


@pytest.mark.parametrize(
    ("slots", "cap"), [(1, 1), (2, 1), (3, 2), (4, 2), (15, 8), (16, 8), (64, 8), (512, 8)]
)
def test_a_tenant_has_half_of_the_slots_and_never_more_than_eight(slots: int, cap: int) -> None:
    assert Lane("calls", slots).cap == cap


@pytest.mark.parametrize("slots", range(2, 100))
def test_one_tenant_cannot_fill_a_lane_with_two_slots(slots: int) -> None:
    assert Lane("calls", slots).cap < slots


@pytest.mark.parametrize(
    ("slots", "connections"), [(1, 1), (4, 4), (8, 8), (64, 8), (80, 10), (512, 64)]
)
def test_many_slots_share_few_connections(slots: int, connections: int) -> None:
    lane = Lane("deliveries", slots)

    assert lane.job_connections == connections
    assert lane.connections == connections + lanes.QUEUE_CONNECTIONS


def test_a_worker_with_the_default_lanes_has_22_connections() -> None:
    worker_lanes = (Lane("calls", 4), Lane("deliveries", 64), Lane("batch", 2))

    assert lanes.count_connections(worker_lanes) == 22


def test_a_task_in_an_unknown_lane_is_rejected() -> None:
    with pytest.raises(ValueError, match="slow is not one of the lanes calls, deliveries, batch"):
        queue.task("planted.test", lane="slow")

    assert "planted.test" not in queue.TASKS
