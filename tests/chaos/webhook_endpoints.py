"""Webhook endpoints of a chaos run's tenants, and checks of the deliveries."""

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any

from sqlalchemy import text

from tests.chaos.failpoints import DELIVERED_WITHIN_S
from tests.fakes.http_receiver import Behaviour, HttpReceiver, reply_with
from tests.support.factories import Tenant
from tests.support.services import app_services
from tests.support.webhooks import WebhookRequest, received_requests, receiver_url
from vca.kit import standard_webhooks
from vca.kit.crypto import BadSignature
from vca.kit.json import InvalidJson, strict_loads
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.event_types import EVENT_TYPES
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import tenant_scope

# These types have an endpoint each. While an endpoint waits for a killed worker, other types
# arrive.
_SEPARATE_TYPES = ("call.started", "call.answered", "call.ended")
ENDPOINT_TYPES = (
    *((type,) for type in _SEPARATE_TYPES),
    tuple(set(EVENT_TYPES) - set(_SEPARATE_TYPES)),
)
# One reply in this many gets lost: the receiver has the event and receives it again.
_LOST_ONE_IN = 20
_POLL_EVERY_S = 0.25
_ACCEPTED = reply_with(b"HTTP/1.1 204 Accepted\r\nConnection: close\r\n\r\n")
_CALL_EVENT_TYPES = ("call.started", "call.ended")


@dataclass(frozen=True)
class ChaosEndpoint:
    """An endpoint's receiver and its signing secret."""

    receiver: HttpReceiver
    secret: str

    def complete_requests(self) -> list[WebhookRequest]:
        """Return the complete requests. A sender that was killed leaves only a part."""
        complete = []
        for data in self.receiver.requests:
            body = data.partition(b"\r\n\r\n")[2]
            with suppress(InvalidJson):
                strict_loads(body)
                complete.append(data)
        self.receiver.requests[:] = complete
        return received_requests(self.receiver)


def attach_endpoints(
    tenant: Tenant, receivers: Sequence[HttpReceiver]
) -> tuple[ChaosEndpoint, ...]:
    """Create an endpoint for each receiver; each gets some of the tenant's event types."""
    created_endpoints, scope = [], tenant_scope.for_tenant(tenant.ref)
    for receiver, types in zip(receivers, ENDPOINT_TYPES, strict=True):
        receiver.behaviour = _lossy_behaviour()
        with tenant_session(tenant.ref, database=app_services().database) as session:
            _, secret = endpoints.create(
                session,
                scope,
                url=receiver_url(receiver),
                events=list(types),
                services=app_services(),
            )
        created_endpoints.append(ChaosEndpoint(receiver, secret))
    return tuple(created_endpoints)


def _lossy_behaviour() -> Behaviour:
    rng = random.Random(1)

    def behave(connection: socket.socket, stop: Event) -> None:
        if rng.randrange(_LOST_ONE_IN):
            _ACCEPTED(connection, stop)

    return behave


@dataclass(frozen=True)
class DeliveryReport:
    """The requests to a tenant's endpoints, compared with the stored events."""

    stored_events: dict[str, str]
    requests: list[WebhookRequest]
    unsigned_count: int
    ended_calls: set[str]

    @property
    def events_by_id(self) -> dict[str, dict[str, Any]]:
        """Return the events by id, which is how a receiver detects repeats."""
        return {request.headers["webhook-id"]: request.event for request in self.requests}

    @property
    def lost(self) -> set[str]:
        return self.stored_events.keys() - self.events_by_id.keys()

    def problems(self) -> Iterator[str]:
        """Yield problems: lost events, unknown events, unsigned requests, events with two ids."""
        if self.lost:
            types = {self.stored_events[id] for id in self.lost}
            yield f"{len(self.lost)} events were lost, of {sorted(types)}"
        if unknown_ids := self.events_by_id.keys() - self.stored_events.keys():
            yield f"{len(unknown_ids)} events are unknown"
        if self.unsigned_count:
            yield f"{self.unsigned_count} requests are not signed"
        counts = Counter(
            (event["type"], event["data"]["call_id"])
            for event in self.events_by_id.values()
            if "call_id" in event["data"]
        )
        if duplicates := [event for event, count in counts.items() if count > 1]:
            yield f"{len(duplicates)} events were sent under two ids: {duplicates[:3]}"
        expected = {(type, call_id) for type in _CALL_EVENT_TYPES for call_id in self.ended_calls}
        if missing := expected - counts.keys():
            yield f"{len(missing)} starts and ends of calls were never sent"


def await_deliveries(tenant: Tenant, chaos_endpoints: Sequence[ChaosEndpoint]) -> DeliveryReport:
    """Wait until every event has arrived or the time is over, and return the report."""
    ends_at = time.monotonic() + DELIVERED_WITHIN_S
    while (report := _read_deliveries(tenant, chaos_endpoints)).lost and time.monotonic() < ends_at:
        time.sleep(_POLL_EVERY_S)
    return report


def _read_deliveries(tenant: Tenant, chaos_endpoints: Sequence[ChaosEndpoint]) -> DeliveryReport:
    requests = [
        (endpoint, request)
        for endpoint in chaos_endpoints
        for request in endpoint.complete_requests()
    ]
    return DeliveryReport(
        {f"evt_{id.hex}": type for id, type in _rows(tenant, "SELECT id, type FROM events")},
        [request for _, request in requests],
        sum(not _is_signed(request, endpoint.secret) for endpoint, request in requests),
        {str(id) for (id,) in _rows(tenant, "SELECT id FROM calls WHERE ended_at IS NOT NULL")},
    )


def _is_signed(request: WebhookRequest, secret: str) -> bool:
    """Verify the signature at the time of the request, which may have been an hour ago."""
    sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    try:
        standard_webhooks.verify([secret], headers=request.headers, body=request.body, now=sent_at)
    except BadSignature:
        return False
    return True


def _rows(tenant: Tenant, query: str) -> list[Any]:
    with tenant_session(tenant.ref, database=app_services().database) as session:
        return list(session.execute(text(query)).all())
