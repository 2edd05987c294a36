"""Send what is due to one endpoint, one delivery after the other.

A job of an endpoint has it to itself: one that hangs holds one worker, and that for as long as a
request may take. After a failure the endpoint is left alone for a while, the longer the more there
were, so that a dead one costs the others next to nothing. Killed in between, a delivery is sent
once more under the same id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from vca.kit import clock, crash, json, log, metrics, standard_webhooks
from vca.kit.at_rest import CannotOpen
from vca.kit.http import Answer, OutgoingClient, OutgoingError
from vca.kit.text import clean
from vca.registry.webhooks import endpoints, forgetting
from vca.registry.webhooks.box import Box
from vca.registry.webhooks.columns import DeliveryColumns, EndpointColumns

# Ten tries over three days: what Standard Webhooks proposes.
WAITS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
TRIES = len(WAITS_S) + 1
JITTER = 0.2
# The last try is due after 75.6 hours, or a fifth later; an endpoint that is down leaves some late.
EXPIRES = timedelta(days=5)
FAILING_FOR = timedelta(days=5)
PAUSES_S = (5, 10, 20, 40, 80, 160, 300)
LONGEST_RETRY_AFTER_S = 86_400
# Longer than any request: whoever is busy longer was killed.
BUSY = timedelta(seconds=30)
# Then another job goes on, so that many busy endpoints take turns.
WORK_S = 20.0
KEPT_CHARACTERS = 1_000


@dataclass(frozen=True)
class Parcel:
    """A delivery to be sent, as plain values: no transaction is open while it is."""

    delivery_id: UUID
    event_id: UUID
    url: str
    body: bytes
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """What came of sending: a status, or why there is none."""

    at: datetime
    duration_ms: int
    status: int | None = None
    error: str | None = None
    response: str | None = None
    retry_after_s: int | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def outcome(self) -> str:
        if self.status is None:
            return "unreachable"
        return "delivered" if self.succeeded else "refused"

    def as_dict(self) -> dict[str, Any]:
        """As it is kept and shown."""
        return {
            "at": self.at,
            "duration_ms": self.duration_ms,
            "status": self.status,
            "error": self.error,
            "response": self.response,
        }


def deliver(box: Box, *, webhook_id: UUID, client: OutgoingClient) -> None:
    """Send what is due to an endpoint, and have what is due later sent then."""
    until = monotonic() + WORK_S
    with box.open() as session:
        parcel = _begin(session, box, webhook_id, now=clock.now())
    while parcel is not None:
        crash.point("webhooks.deliver.claimed")
        attempt = _send(parcel, client)
        crash.point("webhooks.deliver.sent")
        with box.open() as session:
            goes_on = attempt.succeeded and monotonic() < until
            parcel = _settle(session, box, webhook_id, parcel, attempt, goes_on=goes_on)
        crash.point("webhooks.deliver.noted")


def _begin(session: Session, box: Box, webhook_id: UUID, *, now: datetime) -> Parcel | None:
    """Have the endpoint to oneself, and its first delivery; None where there is nothing to do."""
    row = _held(session, box, webhook_id)
    if row is None or not row.is_active:
        return None
    for until in (row.busy_until, row.paused_until):
        if until is not None and until > now:
            endpoints.wake(session, box, webhook_id=webhook_id, at=until)
            return None
    return _next(session, box, row, now=now)


def _held(session: Session, box: Box, webhook_id: UUID) -> EndpointColumns | None:
    row: EndpointColumns | None = session.get(
        box.endpoints, webhook_id, with_for_update=endpoints.HELD, populate_existing=True
    )
    return row


def _next(session: Session, box: Box, row: EndpointColumns, *, now: datetime) -> Parcel | None:
    """The delivery that is due the longest, with the endpoint busy for it; else let it go."""
    found = session.scalars(_waiting(box, row.id).limit(1)).one_or_none()
    if found is None or found.next_attempt_at is None or found.next_attempt_at > now:
        row.busy_until = None
        if found is not None:
            endpoints.wake(session, box, webhook_id=row.id, at=found.next_attempt_at)
        return None
    try:
        signing = tuple(endpoints.secrets(box, row, now=now))
    except CannotOpen:
        row.busy_until = None
        log.get().error("webhook.secret_unreadable", webhook_id=str(row.id))
        return None
    row.busy_until = now + BUSY
    body = json.dumps({name: found.payload[name] for name in ("type", "timestamp", "data")})
    return Parcel(found.id, found.event_id, row.url, body, signing)


def _waiting(box: Box, webhook_id: UUID) -> Any:
    table = box.deliveries
    waiting = table.webhook_id == webhook_id, table.status == "pending"
    return select(table).where(*waiting).order_by(table.next_attempt_at, table.created_at)


def _send(parcel: Parcel, client: OutgoingClient) -> Attempt:
    now, began = clock.now(), monotonic()
    signed = standard_webhooks.headers(
        parcel.secrets, id=f"evt_{parcel.event_id.hex}", at=now, body=parcel.body
    )
    headers = {"Content-Type": "application/json", **signed}
    try:
        answer = client.post(parcel.url, parcel.body, headers)
    except OutgoingError as error:
        return Attempt(now, _ms_since(began), error=str(error))
    return _answered(answer, now, _ms_since(began))


def _answered(answer: Answer, at: datetime, duration_ms: int) -> Attempt:
    text = clean(answer.body[: 4 * KEPT_CHARACTERS].decode(errors="replace"))[:KEPT_CHARACTERS]
    return Attempt(
        at,
        duration_ms,
        status=answer.status,
        response=text or None,
        retry_after_s=_retry_after_s(answer.headers),
    )


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Seconds, of which one who sends needs to know no other form: dates depend on two clocks."""
    told = headers.get("retry-after", "")
    usable = told.isascii() and told.isdigit() and len(told) < 10
    return min(int(told), LONGEST_RETRY_AFTER_S) if usable else None


def _settle(
    session: Session,
    box: Box,
    webhook_id: UUID,
    parcel: Parcel,
    attempt: Attempt,
    *,
    goes_on: bool,
) -> Parcel | None:
    """Note what came of an attempt; the next delivery, if this job goes on."""
    now = clock.now()
    row = _held(session, box, webhook_id)
    if row is None:
        return None
    delivery = session.get(box.deliveries, parcel.delivery_id, with_for_update=True)
    if delivery is not None and delivery.status == "pending":
        _note(delivery, attempt, now=now)
    _judge(session, box, row, attempt, now=now)
    session.flush()
    metrics.WEBHOOK_ATTEMPTS.inc(outcome=attempt.outcome)
    if goes_on and row.is_active:
        return _next(session, box, row, now=now)
    _let_go(session, box, row, now=now)
    return None


def _note(delivery: DeliveryColumns, attempt: Attempt, *, now: datetime) -> None:
    delivery.attempts = [*delivery.attempts, attempt.as_dict()]
    delivery.tries += 1
    delivery.updated_at = now
    if attempt.succeeded:
        delivery.status, delivery.next_attempt_at = "delivered", None
    elif delivery.tries >= TRIES or now >= delivery.expires_at:
        delivery.status, delivery.next_attempt_at = "failed", None
    else:
        wait_s = WAITS_S[delivery.tries - 1] * uniform(1 - JITTER, 1 + JITTER)
        delivery.next_attempt_at = now + timedelta(seconds=max(wait_s, attempt.retry_after_s or 0))


def _judge(
    session: Session, box: Box, row: EndpointColumns, attempt: Attempt, *, now: datetime
) -> None:
    """What an attempt says of the endpoint: that it lives, is to be left alone, or is given up."""
    if attempt.succeeded:
        row.failures, row.failing_since, row.paused_until = 0, None, None
        return
    row.failures += 1
    row.failing_since = row.failing_since or attempt.at
    pause_s = PAUSES_S[min(row.failures, len(PAUSES_S)) - 1]
    row.paused_until = now + timedelta(seconds=max(pause_s, attempt.retry_after_s or 0))
    if attempt.status == 410:
        _disable(session, box, row, "gone", now=now)
    elif now - row.failing_since >= FAILING_FOR:
        _disable(session, box, row, "failing", now=now)


def _disable(
    session: Session, box: Box, row: EndpointColumns, reason: str, *, now: datetime
) -> None:
    row.is_active, row.disabled_reason, row.disabled_at, row.updated_at = False, reason, now, now
    metrics.WEBHOOKS_DISABLED.inc(reason=reason, whose="tenant" if box.tenant_id else "operator")
    session.flush()
    box.announce(session, "webhook.disabled", {"webhook_id": str(row.id), "reason": reason})


def _let_go(session: Session, box: Box, row: EndpointColumns, *, now: datetime) -> None:
    """Let others send to the endpoint; what is left is sent after its pause, or when it is due."""
    row.busy_until = None
    if not row.is_active:
        return
    _expire(session, box, row.id, now=now)
    waiting = box.deliveries.webhook_id == row.id, box.deliveries.status == "pending"
    due = session.scalar(select(func.min(box.deliveries.next_attempt_at)).where(*waiting))
    if due is not None:
        at = max(due, row.paused_until or due)
        endpoints.wake(session, box, webhook_id=row.id, at=at if at > now else None)
    forgetting.order(session, now=now)


def _expire(session: Session, box: Box, webhook_id: UUID, *, now: datetime) -> None:
    """Give up what has waited too long: an endpoint that was down has more than it can be sent.

    What was never tried is due since it was told, so the index finds it without looking at all that
    waits; what was tried is given up by its next try.
    """
    table = box.deliveries
    waiting = table.webhook_id == webhook_id, table.status == "pending"
    old = *waiting, table.next_attempt_at <= now - EXPIRES, table.expires_at <= now
    session.execute(
        update(table).where(*old).values(status="failed", next_attempt_at=None, updated_at=now)
    )


def _ms_since(began: float) -> int:
    return round((monotonic() - began) * 1000)
