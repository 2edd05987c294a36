"""The lanes of jobs: queues with slots, threads and database connections of their own.

A job that waits in one lane never delays a job in another. The lane of a task follows from what its
jobs wait for:

- `calls`: a caller or a called person waits for it.
- `deliveries`: it waits for a server that is not ours (a webhook, a mail server, a carrier, a
  model), without a database connection. Such jobs need many slots and few connections.
- `batch`: it works with our own database and store, and nobody waits for it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from vca.settings import JOB_LANES, Settings

CALLS, DELIVERIES, BATCH = NAMES = tuple(name for name, _ in JOB_LANES)
# Processes of earlier releases enqueue here. The batch lane takes over these jobs.
EARLIER_QUEUE = "default"
# A tenant with more slow endpoints than this delays its own jobs. Eight such tenants fill 64 slots.
MAX_CAP = 8
# Connections of procrastinate in each lane: one takes jobs, the other finishes them.
QUEUE_CONNECTIONS = 2
# Connections of the worker itself, for its checks at the start and of the models.
PROCESS_CONNECTIONS = 2
_FEW_CONNECTIONS = 8


@dataclass(frozen=True)
class Lane:
    """A lane of a worker, with the number of jobs that it runs at the same time."""

    name: str
    slots: int

    @property
    def cap(self) -> int:
        """The maximum of running jobs of one tenant in this lane, in all workers together."""
        return min((self.slots + 1) // 2, MAX_CAP)

    @property
    def job_connections(self) -> int:
        """The database connections of the lane's jobs.

        A job has a connection only during its transactions, which take milliseconds. So a few
        connections are enough for many slots.
        """
        return min(self.slots, max(_FEW_CONNECTIONS, self.slots // 8))

    @property
    def connections(self) -> int:
        """All database connections of the lane."""
        return self.job_connections + QUEUE_CONNECTIONS


def from_settings(settings: Settings, names: Collection[str] = NAMES) -> tuple[Lane, ...]:
    """Return the lanes with these names, with the slots of `WORKER_LANES`."""
    return tuple(Lane(name, slots) for name, slots in settings.worker_lanes if name in names)


def count_connections(lanes: Collection[Lane]) -> int:
    """Return the maximum of database connections of a worker with these lanes."""
    return PROCESS_CONNECTIONS + sum(lane.connections for lane in lanes)
