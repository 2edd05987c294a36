"""Create the webhook endpoints of a run and their waiting deliveries."""

from dataclasses import dataclass
from uuid import UUID

from benchmarks.deliveries.receivers import Receivers
from benchmarks.postgres import BenchmarkDatabase
from benchmarks.tenant_data import BenchmarkTenant
from vca.registry.webhooks import endpoints
from vca.services import Services
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import tenant_scope

BACKLOG_SIZE = 100_000
# The backlog of another tenant's endpoint, for comparison.
SMALL_BACKLOG_SIZE = 1_000
_FILL = """
INSERT INTO "{schema}".webhook_deliveries
    (id, tenant_id, webhook_id, event_id, type, payload, next_attempt_at, created_at, expires_at)
SELECT gen_random_uuid(), '{tenant}', '{webhook}', gen_random_uuid(), 'call.ended',
    jsonb_build_object('type', 'call.ended', 'timestamp', now(), 'data', jsonb_build_object(
        'tenant_id', '{tenant}', 'simulated', false, 'call_id', gen_random_uuid(),
        'direction', 'inbound', 'status', 'completed', 'end_reason', 'caller_hangup',
        'duration_seconds', place % 600)),
    now() + {due}, now() - interval '1 day', now() + interval '4 days'
FROM generate_series(1, {waiting}) AS place
"""
_DUE_NOW = "make_interval(secs => place * 0.001) - interval '1 hour'"
_DUE_LATER = "make_interval(secs => 600 + place * 2.5)"

_RESET_ENDPOINTS = """
UPDATE "{schema}".webhooks
SET failures = 0, failing_since = NULL, paused_until = NULL, busy_until = NULL
"""


@dataclass(frozen=True)
class TenantEndpoints:
    """The webhooks of a tenant; `unresponsive` is None except for the first tenant."""

    tenant: TenantRef
    responsive: UUID
    unresponsive: UUID | None


def create_endpoints(
    tenants: list[BenchmarkTenant], receivers: Receivers, *, services: Services
) -> list[TenantEndpoints]:
    """Create a responsive webhook for each tenant, and an unresponsive one for the first."""
    endpoint_list = []
    for index, tenant in enumerate(tenants):
        ref = TenantRef(UUID(tenant.id))
        unresponsive = (
            _create_webhook(ref, receivers.unresponsive_port, services=services)
            if index == 0
            else None
        )
        endpoint_list.append(
            TenantEndpoints(
                ref,
                _create_webhook(ref, receivers.responsive_port, services=services),
                unresponsive,
            )
        )
    return endpoint_list


def fill_backlog(
    postgres: BenchmarkDatabase, first: TenantEndpoints, other: TenantEndpoints
) -> None:
    """Insert the deliveries that wait for the first tenant's endpoints and for another tenant's.

    The unresponsive endpoint gets 100,000 due deliveries, the responsive endpoint of the same
    tenant 100,000 later ones, the other tenant's endpoint 1,000 due ones.
    """
    for tenant_endpoints, webhook, due, count in (
        (first, first.unresponsive, _DUE_NOW, BACKLOG_SIZE),
        (first, first.responsive, _DUE_LATER, BACKLOG_SIZE),
        (other, other.responsive, _DUE_NOW, SMALL_BACKLOG_SIZE),
    ):
        tenant = tenant_endpoints.tenant
        parameters = {"webhook": webhook, "due": due, "waiting": count}
        postgres.execute(_FILL.format(schema=tenant.schema, tenant=tenant.id, **parameters))
    for tenant_endpoints in (first, other):
        postgres.execute(f'VACUUM ANALYZE "{tenant_endpoints.tenant.schema}".webhook_deliveries')


def reset_queue(
    postgres: BenchmarkDatabase,
    first: TenantEndpoints,
    other: TenantEndpoints,
    *,
    services: Services,
) -> None:
    """Reset the queue so that a delivery job for the unresponsive endpoint is the only work."""
    postgres.execute("DELETE FROM jobs.procrastinate_jobs")
    postgres.execute(f'DELETE FROM "{other.tenant.schema}".webhook_deliveries')
    for tenant_endpoints in (first, other):
        postgres.execute(_RESET_ENDPOINTS.format(schema=tenant_endpoints.tenant.schema))
    assert first.unresponsive is not None
    with tenant_session(first.tenant, database=services.database) as session:
        endpoints.schedule_delivery(
            session, tenant_scope.for_tenant(first.tenant), webhook_id=first.unresponsive
        )


def _create_webhook(tenant: TenantRef, port: int, *, services: Services) -> UUID:
    with tenant_session(tenant, database=services.database) as session:
        url = f"http://127.0.0.1:{port}/in"
        row, _ = endpoints.create(
            session, tenant_scope.for_tenant(tenant), url=url, services=services
        )
        return row.id
