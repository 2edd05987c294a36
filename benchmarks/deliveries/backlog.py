"""The webhooks of a run, and all that waits for them."""

from dataclasses import dataclass
from uuid import UUID

from benchmarks.deliveries.receivers import Receivers
from benchmarks.postgres import Postgres
from benchmarks.world import Tenant
from vca.registry.webhooks import endpoints
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.webhooks import boxes

WAITING = 100_000
# What waits at an endpoint beside it, with which its claims are compared.
FEW = 1_000
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
_DUE = "make_interval(secs => place * 0.001) - interval '1 hour'"
_LATER = "make_interval(secs => 600 + place * 2.5)"

_READY = """
UPDATE "{schema}".webhooks
SET failures = 0, failing_since = NULL, paused_until = NULL, busy_until = NULL
"""


@dataclass(frozen=True)
class Endpoints:
    """A tenant's webhooks; `dead` is None but for the first tenant."""

    tenant: TenantRef
    listening: UUID
    dead: UUID | None


def attach(made: list[Tenant], receivers: Receivers) -> list[Endpoints]:
    """A webhook that listens for each tenant, and a dead one for the first."""
    found = []
    for place, tenant in enumerate(made):
        ref = TenantRef(UUID(tenant.id))
        dead = _webhook(ref, receivers.dead) if place == 0 else None
        found.append(Endpoints(ref, _webhook(ref, receivers.listening), dead))
    return found


def fill(postgres: Postgres, first: Endpoints, other: Endpoints) -> None:
    """100,000 due deliveries for the dead endpoint, 100,000 later ones for the one beside it.

    And a few for another tenant's.
    """
    for whose, webhook, due, waiting in (
        (first, first.dead, _DUE, WAITING),
        (first, first.listening, _LATER, WAITING),
        (other, other.listening, _DUE, FEW),
    ):
        tenant = whose.tenant
        filled = {"webhook": webhook, "due": due, "waiting": waiting}
        postgres.run(_FILL.format(schema=tenant.schema, tenant=tenant.id, **filled))
    for whose in (first, other):
        postgres.run(f'VACUUM ANALYZE "{whose.tenant.schema}".webhook_deliveries')


def begin(postgres: Postgres, first: Endpoints, other: Endpoints) -> None:
    """As if nobody had worked yet: the dead endpoint is to be tried, and nothing else is to do."""
    postgres.run("DELETE FROM jobs.procrastinate_jobs")
    postgres.run(f'DELETE FROM "{other.tenant.schema}".webhook_deliveries')
    for whose in (first, other):
        postgres.run(_READY.format(schema=whose.tenant.schema))
    assert first.dead is not None
    with enter(first.tenant) as session:
        endpoints.wake(session, boxes.of(first.tenant), webhook_id=first.dead)


def _webhook(tenant: TenantRef, port: int) -> UUID:
    with enter(tenant) as session:
        url = f"http://127.0.0.1:{port}/in"
        row, _ = endpoints.create(session, boxes.of(tenant), url=url)
        return row.id
