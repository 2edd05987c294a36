"""Gauges of the whole deployment for `/metrics`, read without visiting tenants."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from vca.registry.job_lanes import service as job_lanes
from vca.registry.job_lanes.service import LaneState
from vca.tenancy import schema

_READ_GAUGES = text(
    """
    SELECT (SELECT coalesce(sum(jobs), 0) FROM jobs.tenants_awaiting(:watching)) AS live_calls,
           (SELECT coalesce(sum(jobs), 0) FROM jobs.tenants_awaiting(:mailing)) AS pending_mails,
           (SELECT count(*) FROM public.dids WHERE registration_status = 'failed')
               AS failed_registrations,
           ARRAY(SELECT json_build_array(status, schema_revision, count(*))
                 FROM public.tenants GROUP BY status, schema_revision) AS tenants
    """
)


@dataclass(frozen=True)
class DeploymentGauges:
    """The state of the deployment; `tenants` is the number of tenants by status."""

    live_calls: int
    pending_mails: int
    failed_registrations: int
    tenants_behind_head: int
    tenants: Mapping[str, int]
    lanes: Sequence[LaneState]

    @property
    def oldest_due_job_s(self) -> float:
        """The longest time for which a tenant without a running job in a lane has waited there."""
        return max(lane.unserved_s for lane in self.lanes)


def read_gauges(session: Session, *, watch_job: str, mail_job: str) -> DeploymentGauges:
    """Read the gauges.

    Each live call has one waiting job with the name `watch_job`, each unsent mail one `mail_job`.
    """
    row = session.execute(_READ_GAUGES, {"watching": watch_job, "mailing": mail_job}).one()
    by_status: Counter[str] = Counter()
    behind_count = 0
    for status, revision, count in row.tenants:
        by_status[status] += count
        behind_count += count if schema.is_behind(revision) else 0
    return DeploymentGauges(
        int(row.live_calls),
        int(row.pending_mails),
        row.failed_registrations,
        behind_count,
        by_status,
        job_lanes.read_lanes(session),
    )
