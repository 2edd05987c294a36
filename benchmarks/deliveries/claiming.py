"""How long the transactions of a job take, around a network that takes no time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from vca.kit.http import Allowed, Answer, OutgoingClient, Unreachable
from vca.registry.webhooks import delivering
from vca.registry.webhooks.box import Box
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import enter
from vca.tenant.webhooks import boxes
from vca.tenant.webhooks.models import Webhook

FIRST = 20  # not counted: plans and caches


class Instant(OutgoingClient):
    """Takes `alive` deliveries at once, then is dead at once."""

    def __init__(self, *, alive: int) -> None:
        super().__init__(Allowed())
        self._alive = alive

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = 0
    ) -> Answer:
        self._alive -= 1
        if self._alive < 0:
            raise Unreachable("There is nobody.")
        return Answer(204, {}, b"")


def one_after_the_other(tenant: TenantRef, webhook_id: UUID, *, times: int) -> list[float]:
    """Seconds of each transaction of a job that notes a success and claims the next delivery."""
    took: list[float] = []
    while len(took) < FIRST + times:
        _wake(tenant, webhook_id)
        client, one = Instant(alive=times), list[float]()
        delivering.deliver(_watched(tenant, one), webhook_id=webhook_id, client=client)
        took += one[1:-1]
    return took[FIRST : FIRST + times]


def one_each(tenant: TenantRef, webhook_id: UUID, *, times: int) -> tuple[list[float], list[float]]:
    """Seconds of jobs that find nobody there: of their claims, and of noting that.

    The endpoint has been left alone for long enough each time.
    """
    claims, notes = list[float](), list[float]()
    for _ in range(FIRST + times):
        _wake(tenant, webhook_id)
        took: list[float] = []
        client = Instant(alive=0)
        delivering.deliver(_watched(tenant, took), webhook_id=webhook_id, client=client)
        claims.append(took[0])
        notes.append(took[1])
    return claims[FIRST:], notes[FIRST:]


def _wake(tenant: TenantRef, webhook_id: UUID) -> None:
    ready = update(Webhook).where(Webhook.id == webhook_id)
    with enter(tenant) as session:
        session.execute(ready.values(paused_until=None, busy_until=None))


def _watched(tenant: TenantRef, took: list[float]) -> Box:
    @contextmanager
    def opened() -> Iterator[Session]:
        began = perf_counter()
        with enter(tenant) as session:
            yield session
        took.append(perf_counter() - began)

    return replace(boxes.of(tenant), open=opened)
