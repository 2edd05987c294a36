"""The tenants' own systems in a rehearsal, and what must hold of all that they were told."""

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
from tests.support.webhooks import WebhookRequest, received_requests, receiver_url
from vca.kit import standard_webhooks
from vca.kit.crypto import BadSignature
from vca.kit.json import InvalidJson, strict_loads
from vca.registry.webhooks import endpoints
from vca.registry.webhooks.event_types import EVENT_TYPES
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import tenant_scope

# An endpoint that waits for a worker that was killed keeps no other kind of event waiting.
_SEPARATE_TYPES = ("call.started", "call.answered", "call.ended")
ENDPOINT_TYPES = (
    *((type,) for type in _SEPARATE_TYPES),
    tuple(set(EVENT_TYPES) - set(_SEPARATE_TYPES)),
)
# One answer in so many gets lost: its receiver has the event and is sent it again.
_LOST_ONE_IN = 20
_POLL_EVERY_S = 0.25
_ACCEPTED = reply_with(b"HTTP/1.1 204 Taken\r\n\r\n")
_CALL_EVENT_TYPES = ("call.started", "call.ended")


@dataclass(frozen=True)
class ChaosEndpoint:
    """One endpoint: who listens there, and what its requests are signed with."""

    receiver: HttpReceiver
    secret: str

    def complete_requests(self) -> list[WebhookRequest]:
        """What has come whole; of a request whose sender was killed there is a part only."""
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
    """Have the receivers told the tenant's events, each some of them."""
    hooks, scope = [], tenant_scope.for_tenant(tenant.ref)
    for receiver, types in zip(receivers, ENDPOINT_TYPES, strict=True):
        receiver.behaviour = _lossy_behaviour()
        with tenant_session(tenant.ref) as session:
            _, secret = endpoints.create(
                session, scope, url=receiver_url(receiver), events=list(types)
            )
        hooks.append(ChaosEndpoint(receiver, secret))
    return tuple(hooks)


def _lossy_behaviour() -> Behaviour:
    rng = random.Random(1)

    def behave(connection: socket.socket, stop: Event) -> None:
        if rng.randrange(_LOST_ONE_IN):
            _ACCEPTED(connection, stop)

    return behave


@dataclass(frozen=True)
class DeliveryReport:
    """All that a tenant's systems were told, and what is on record of it."""

    stored_events: dict[str, str]
    requests: list[WebhookRequest]
    unsigned_count: int
    ended_calls: set[str]

    @property
    def events_by_id(self) -> dict[str, dict[str, Any]]:
        """What is left for a receiver that knows a repeat by its id."""
        return {request.headers["webhook-id"]: request.event for request in self.requests}

    @property
    def lost(self) -> set[str]:
        return self.stored_events.keys() - self.events_by_id.keys()

    def problems(self) -> Iterator[str]:
        """An event that was lost, made up, forged, or told under two names."""
        if self.lost:
            types = {self.stored_events[id] for id in self.lost}
            yield f"{len(self.lost)} events were lost, of {sorted(types)}"
        if unknown_ids := self.events_by_id.keys() - self.stored_events.keys():
            yield f"{len(unknown_ids)} events never happened"
        if self.unsigned_count:
            yield f"{self.unsigned_count} requests are not signed"
        counts = Counter(
            (event["type"], event["data"]["call_id"])
            for event in self.events_by_id.values()
            if "call_id" in event["data"]
        )
        if duplicates := [effect for effect, times in counts.items() if times > 1]:
            yield f"{len(duplicates)} effects were told under two ids: {duplicates[:3]}"
        expected = {(type, call_id) for type in _CALL_EVENT_TYPES for call_id in self.ended_calls}
        if missing := expected - counts.keys():
            yield f"{len(missing)} beginnings and ends of calls were never told"


def await_deliveries(tenant: Tenant, chaos_endpoints: Sequence[ChaosEndpoint]) -> DeliveryReport:
    """All that came, once that is everything, or has had its time."""
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
    """As it was when it came: that may be an hour ago."""
    sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    try:
        standard_webhooks.verify([secret], headers=request.headers, body=request.body, now=sent_at)
    except BadSignature:
        return False
    return True


def _rows(tenant: Tenant, query: str) -> list[Any]:
    with tenant_session(tenant.ref) as session:
        return list(session.execute(text(query)).all())
