"""Jobs that move and delete audio. No transaction is open while a carrier or the store is asked."""

from uuid import UUID

from vca.kit import clock, jobs
from vca.registry.usage import periods
from vca.tenancy.schema import TenantRef
from vca.tenant.recordings import fetching, keeping, retention
from vca.tenant.recordings.fetching import FETCH
from vca.tenant.recordings.keeping import COUNT
from vca.tenant.recordings.retention import SWEEP


@jobs.task(FETCH)
def fetch(tenant_id: str, recording_id: str, attempt: int = 0) -> None:
    """Fetch a recording from its carrier."""
    fetching.fetch(TenantRef(UUID(tenant_id)), recording_id=UUID(recording_id), attempt=attempt)


@jobs.task(SWEEP)
def sweep(tenant_id: str, attempt: int = 0) -> None:
    """Delete the recordings of a tenant that are due."""
    retention.sweep(TenantRef(UUID(tenant_id)), now=clock.now(), attempt=attempt)


@jobs.task(COUNT)
def count(tenant_id: str, period: str) -> None:
    """Note how much audio was kept in a month, and for how long."""
    keeping.count(TenantRef(UUID(tenant_id)), period=periods.named(period))
