"""The webhooks of a run, and all that waits for them."""

from dataclasses import dataclass
from uuid import UUID

from benchmarks.deliveries.receivers import Receivers
from benchmarks.postgres import BenchmarkDatabase
from benchmarks.tenant_data import BenchmarkTenant
from vca.registry.webhooks import endpoints
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import tenant_scope

BACKLOG_SIZE = 100_000
# What waits at an endpoint beside it, with which its claims are compared.
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
    """A tenant's webhooks; `dead` is None but for the first tenant."""

    tenant: TenantRef
    listening: UUID
    dead: UUID | None


def create_endpoints(tenants: list[BenchmarkTenant], receivers: Receivers) -> list[TenantEndpoints]:
    """A webhook that listens for each tenant, and a dead one for the first."""
    endpoint_list = []
    for index, tenant in enumerate(tenants):
        ref = TenantRef(UUID(tenant.id))
        dead = _create_webhook(ref, receivers.dead_port) if index == 0 else None
        endpoint_list.append(
            TenantEndpoints(ref, _create_webhook(ref, receivers.listening_port), dead)
        )
    return endpoint_list


def fill_backlog(
    postgres: BenchmarkDatabase, first: TenantEndpoints, other: TenantEndpoints
) -> None:
    """100,000 due deliveries for the dead endpoint, 100,000 later ones for the one beside it.

    And a few for another tenant's.
    """
    for tenant_endpoints, webhook, due, count in (
        (first, first.dead, _DUE_NOW, BACKLOG_SIZE),
        (first, first.listening, _DUE_LATER, BACKLOG_SIZE),
        (other, other.listening, _DUE_NOW, SMALL_BACKLOG_SIZE),
    ):
        tenant = tenant_endpoints.tenant
        parameters = {"webhook": webhook, "due": due, "waiting": count}
        postgres.execute(_FILL.format(schema=tenant.schema, tenant=tenant.id, **parameters))
    for tenant_endpoints in (first, other):
        postgres.execute(f'VACUUM ANALYZE "{tenant_endpoints.tenant.schema}".webhook_deliveries')


def reset_queue(
    postgres: BenchmarkDatabase, first: TenantEndpoints, other: TenantEndpoints
) -> None:
    """As if nobody had worked yet: the dead endpoint is to be tried, and nothing else is to do."""
    postgres.execute("DELETE FROM jobs.procrastinate_jobs")
    postgres.execute(f'DELETE FROM "{other.tenant.schema}".webhook_deliveries')
    for tenant_endpoints in (first, other):
        postgres.execute(_RESET_ENDPOINTS.format(schema=tenant_endpoints.tenant.schema))
    assert first.dead is not None
    with tenant_session(first.tenant) as session:
        endpoints.schedule_delivery(
            session, tenant_scope.for_tenant(first.tenant), webhook_id=first.dead
        )


def _create_webhook(tenant: TenantRef, port: int) -> UUID:
    with tenant_session(tenant) as session:
        url = f"http://127.0.0.1:{port}/in"
        row, _ = endpoints.create(session, tenant_scope.for_tenant(tenant), url=url)
        return row.id
