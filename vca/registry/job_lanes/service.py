"""Read how many jobs wait and run in each lane, and whose jobs they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.jobs import lanes

LARGEST_TENANTS = 5
_READ_TENANT_JOBS = text(
    "SELECT lane, tenant_id, waiting, due, running, oldest_due_s FROM jobs.tenant_jobs()"
)


@dataclass(frozen=True)
class TenantJobs:
    """The jobs of a tenant in a lane; `tenant_id` is None for jobs of the platform.

    `waiting` includes the jobs that are due later, `due` does not. `oldest_due_s` is the time for
    which the oldest due job has waited, or None if no job is due.
    """

    tenant_id: str | None
    waiting: int
    due: int
    running: int
    oldest_due_s: float | None


@dataclass(frozen=True)
class LaneState:
    """The jobs of a lane: of all tenants, and of those with the most due and running jobs.

    `unserved_s` is the time for which the oldest due job has waited of all tenants that have no
    running job in the lane, 0 if there is none: other tenants may wait because of their cap.
    """

    name: str
    waiting: int
    due: int
    running: int
    oldest_due_s: float | None
    unserved_s: float
    largest_tenants: tuple[TenantJobs, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {
            "lane": self.name,
            "waiting": self.waiting,
            "due": self.due,
            "running": self.running,
            "oldest_due_s": self.oldest_due_s,
            "tenants": [
                {
                    "tenant_id": tenant.tenant_id,
                    "waiting": tenant.waiting,
                    "due": tenant.due,
                    "running": tenant.running,
                    "oldest_due_s": tenant.oldest_due_s,
                }
                for tenant in self.largest_tenants
            ],
        }


def read_lanes(session: Session) -> list[LaneState]:
    """Read the state of every lane. Jobs that wait in the queue of earlier releases are batch."""
    tenants_by_lane: dict[str, list[TenantJobs]] = {name: [] for name in lanes.NAMES}
    for lane, *values in session.execute(_READ_TENANT_JOBS):
        tenants_by_lane.setdefault(lane, []).append(TenantJobs(*values))
    return [_summarize_lane(name, tenants) for name, tenants in tenants_by_lane.items()]


def _summarize_lane(name: str, tenants: Sequence[TenantJobs]) -> LaneState:
    waits_s = [tenant.oldest_due_s for tenant in tenants if tenant.oldest_due_s is not None]
    unserved_s = [
        tenant.oldest_due_s
        for tenant in tenants
        if tenant.oldest_due_s is not None and not tenant.running
    ]
    busy = [tenant for tenant in tenants if tenant.due or tenant.running]
    busy.sort(key=lambda tenant: (-tenant.due, -tenant.running, tenant.tenant_id or ""))
    return LaneState(
        name,
        waiting=sum(tenant.waiting for tenant in tenants),
        due=sum(tenant.due for tenant in tenants),
        running=sum(tenant.running for tenant in tenants),
        oldest_due_s=max(waits_s, default=None),
        unserved_s=max(unserved_s, default=0.0),
        largest_tenants=tuple(busy[:LARGEST_TENANTS]),
    )
