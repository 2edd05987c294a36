"""Measure the transactions of a delivery job, with a network that takes no time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from vca.kit.http import HttpResponse, OutgoingClient, Unreachable, UrlPolicy
from vca.registry.webhooks import delivery_worker
from vca.registry.webhooks.scope import WebhookScope
from vca.services import Services
from vca.tenancy.database import TenantDatabase
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.webhooks import tenant_scope
from vca.tenant.webhooks.models import Webhook

WARM_UP = 20  # jobs that are not counted: query plans and caches


class InstantClient(OutgoingClient):
    """Accepts `successes` deliveries at once, then fails each one at once."""

    def __init__(self, *, successes: int) -> None:
        super().__init__(UrlPolicy())
        self._successes_left = successes

    def post(self, url: str, body: bytes, headers: Mapping[str, str], **_: Any) -> HttpResponse:
        """Respond with 204 to the first requests, then fail to connect."""
        self._successes_left -= 1
        if self._successes_left < 0:
            raise Unreachable("Nothing listens.")
        return HttpResponse(204, {}, b"")


def measure_successful_deliveries(
    tenant: TenantRef, webhook_id: UUID, *, services: Services, times: int
) -> list[float]:
    """Return the seconds of each transaction that records a success and claims the next one."""
    durations_s: list[float] = []
    while len(durations_s) < WARM_UP + times:
        _reset_endpoint(tenant, webhook_id, services=services)
        client, job_durations_s = InstantClient(successes=times), list[float]()
        delivery_worker.deliver_due(
            _timed_scope(tenant, job_durations_s),
            webhook_id=webhook_id,
            client=client,
            services=services,
        )
        durations_s += job_durations_s[1:-1]
    return durations_s[WARM_UP : WARM_UP + times]


def measure_failed_deliveries(
    tenant: TenantRef, webhook_id: UUID, *, services: Services, times: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of the claims, and of recording the failures, of jobs that cannot connect.

    The endpoint's pause is removed before each job.
    """
    claims_s, records_s = list[float](), list[float]()
    for _ in range(WARM_UP + times):
        _reset_endpoint(tenant, webhook_id, services=services)
        durations_s: list[float] = []
        client = InstantClient(successes=0)
        delivery_worker.deliver_due(
            _timed_scope(tenant, durations_s),
            webhook_id=webhook_id,
            client=client,
            services=services,
        )
        claims_s.append(durations_s[0])
        records_s.append(durations_s[1])
    return claims_s[WARM_UP:], records_s[WARM_UP:]


def _reset_endpoint(tenant: TenantRef, webhook_id: UUID, *, services: Services) -> None:
    statement = update(Webhook).where(Webhook.id == webhook_id)
    with tenant_session(tenant, database=services.database) as session:
        session.execute(statement.values(paused_until=None, busy_until=None))


def _timed_scope(tenant: TenantRef, durations_s: list[float]) -> WebhookScope:
    @contextmanager
    def open_session(database: TenantDatabase) -> Iterator[Session]:
        started_at = perf_counter()
        with tenant_session(tenant, database=database) as session:
            yield session
        durations_s.append(perf_counter() - started_at)

    return replace(tenant_scope.for_tenant(tenant), open_session=open_session)
