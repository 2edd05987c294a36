"""Jobs that fetch, meter and delete audio. No transaction is open during network calls."""

from uuid import UUID

from vca.jobs import lanes, queue
from vca.kit import clock
from vca.registry.usage import periods
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenant.recordings import carrier_fetch, retention, storage_metering
from vca.tenant.recordings.carrier_fetch import FETCH_JOB
from vca.tenant.recordings.retention import SWEEP_JOB
from vca.tenant.recordings.storage_metering import COUNT_JOB


@queue.task(FETCH_JOB, lane=lanes.DELIVERIES)
def fetch(tenant_id: str, recording_id: str, attempt: int = 0, *, services: Services) -> None:
    """Fetch a recording from its carrier."""
    carrier_fetch.fetch_recording(
        TenantRef(UUID(tenant_id)),
        recording_id=UUID(recording_id),
        attempt=attempt,
        services=services,
    )


@queue.task(SWEEP_JOB, lane=lanes.BATCH)
def sweep(tenant_id: str, attempt: int = 0, *, services: Services) -> None:
    """Delete the tenant's recordings that are due."""
    retention.sweep(TenantRef(UUID(tenant_id)), now=clock.now(), attempt=attempt, services=services)


@queue.task(COUNT_JOB, lane=lanes.BATCH)
def count(tenant_id: str, period: str, *, services: Services) -> None:
    """Record how much audio was stored in a month, and for how long."""
    storage_metering.record_month(
        TenantRef(UUID(tenant_id)), period=periods.parse_month(period), services=services
    )
