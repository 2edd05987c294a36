"""Emit events at a steady pace and measure the time from commit to receipt."""

import random
import time
from collections.abc import Sequence
from uuid import uuid4

from benchmarks.deliveries.backlog import TenantEndpoints
from benchmarks.deliveries.receivers import Receivers
from vca.services import Services
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import events
from vca.tenant.webhooks.events import Event

EVENTS_PER_S = 10
_RECEIPT_TIMEOUT_S = 60.0


def measure_first_attempts(
    tenant_endpoints: Sequence[TenantEndpoints],
    receivers: Receivers,
    *,
    services: Services,
    seconds: float,
) -> list[float]:
    """Return the seconds from commit to receipt of each event; infinite if it never arrived."""
    committed = _emit_events(tenant_endpoints, seconds, services=services)
    ends_at = time.monotonic() + _RECEIPT_TIMEOUT_S
    while time.monotonic() < ends_at and not committed.keys() <= receivers.received_at().keys():
        time.sleep(0.5)
    received_at = receivers.received_at()
    return [
        received_at.get(event_id, float("inf")) - committed_at
        for event_id, committed_at in committed.items()
    ]


def _emit_events(
    tenant_endpoints: Sequence[TenantEndpoints], seconds: float, *, services: Services
) -> dict[str, float]:
    """Emit events for the tenants in turn.

    Every second event belongs to the tenant with the unresponsive receiver. Return the commit time
    of each event, by its id.
    """
    rng, committed = random.Random(1), {}
    started_at = time.monotonic()
    for index in range(int(seconds * EVENTS_PER_S)):
        time.sleep(max(0.0, started_at + index / EVENTS_PER_S - time.monotonic()))
        endpoints = tenant_endpoints[0] if index % 2 else rng.choice(tenant_endpoints[1:])
        event = Event("message.taken", {"message_id": uuid4(), "call_id": uuid4()})
        with tenant_session(endpoints.tenant, database=services.database) as session:
            events.emit(session, event)
        committed[event.id.hex] = time.monotonic()
    return committed
