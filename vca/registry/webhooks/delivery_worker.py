"""Send due deliveries to one endpoint, one after the other.

Only one job sends to an endpoint at a time. An endpoint that hangs occupies one worker, for at most
the duration of one request. After failures the endpoint is paused, longer with each failure, so
that a dead endpoint costs the others almost nothing. If a job is killed, its delivery may be sent
again with the same id.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from vca.kit import clock, failpoints, json, standard_webhooks
from vca.kit.backoff import BackOff, parse_retry_after_s
from vca.kit.deadline import Deadline
from vca.kit.encryption import DecryptionError
from vca.kit.http import HttpResponse, OutgoingClient, OutgoingError
from vca.kit.text import sanitize
from vca.observability import log, metrics
from vca.registry.webhooks import endpoints, retention
from vca.registry.webhooks.mixins import DeliveryMixin, EndpointMixin
from vca.registry.webhooks.scope import WebhookScope
from vca.services import Services

# Ten attempts over three days, as Standard Webhooks proposes.
BACK_OFF = BackOff((5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400))
MAX_ATTEMPTS = len(BACK_OFF.delays_s) + 1
# Of a delivery that is redelivered again and again, the last attempts are stored.
MAX_STORED_ATTEMPTS = 5 * MAX_ATTEMPTS
# The last attempt is due after 75.6 hours, or up to a fifth later. Deliveries of an endpoint that
# is down may be late, so the lifetime is longer.
DELIVERY_LIFETIME = timedelta(days=5)
DISABLE_AFTER = timedelta(days=5)
ENDPOINT_PAUSES = BackOff((5, 10, 20, 40, 80, 160, 300), jitter=0)
MAX_RETRY_AFTER_S = 86_400
# Longer than any request: a job that is busy for longer was killed.
BUSY_TIMEOUT = timedelta(seconds=30)
# After this time another job continues, so that many busy endpoints take turns.
MAX_JOB_S = 20.0
MAX_RESPONSE_CHARACTERS = 1_000


@dataclass(frozen=True)
class PendingDelivery:
    """A delivery to be sent, as plain values: no transaction is open during the request."""

    delivery_id: UUID
    event_id: UUID
    url: str
    body: bytes
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """The result of a request: a status, or the reason why there is none."""

    attempted_at: datetime
    duration_ms: int
    status: int | None = None
    error: str | None = None
    response: str | None = None
    retry_after_s: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the endpoint returned a 2xx status."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def outcome(self) -> str:
        """The metric's label: delivered, refused or unreachable."""
        if self.status is None:
            return "unreachable"
        return "delivered" if self.succeeded else "refused"

    def as_dict(self) -> dict[str, Any]:
        """Return the attempt as it is stored and shown."""
        return {
            "at": self.attempted_at,
            "duration_ms": self.duration_ms,
            "status": self.status,
            "error": self.error,
            "response": self.response,
        }


def deliver_due(
    scope: WebhookScope, *, services: Services, webhook_id: UUID, client: OutgoingClient
) -> None:
    """Send all due deliveries to an endpoint, and schedule the later ones."""
    deadline = Deadline.after(MAX_JOB_S)
    with scope.open_session(services.database) as session:
        pending = _claim_endpoint(session, scope, webhook_id, now=clock.now(), services=services)
    while pending is not None:
        failpoints.kill_if_armed("webhooks.deliver.claimed")
        attempt = _send(pending, client, connection_scope=scope.tenant_id or "platform")
        failpoints.kill_if_armed("webhooks.deliver.sent")
        with scope.open_session(services.database) as session:
            continues = attempt.succeeded and deadline.remaining_s > 0
            pending = _record_attempt(
                session, scope, webhook_id, pending, attempt, continues=continues, services=services
            )
        failpoints.kill_if_armed("webhooks.deliver.noted")


def _claim_endpoint(
    session: Session, scope: WebhookScope, webhook_id: UUID, *, services: Services, now: datetime
) -> PendingDelivery | None:
    """Claim the endpoint and return its first due delivery, or None if there is nothing to do."""
    row = _lock_endpoint(session, scope, webhook_id)
    if row is None or not row.is_active:
        return None
    for until in (row.busy_until, row.paused_until):
        if until is not None and until > now:
            endpoints.schedule_delivery(session, scope, webhook_id=webhook_id, due_at=until)
            return None
    return _next_delivery(session, scope, row, now=now, services=services)


def _lock_endpoint(session: Session, scope: WebhookScope, webhook_id: UUID) -> EndpointMixin | None:
    row: EndpointMixin | None = session.get(
        scope.endpoints, webhook_id, with_for_update=endpoints.ROW_LOCK, populate_existing=True
    )
    return row


def _next_delivery(
    session: Session, scope: WebhookScope, row: EndpointMixin, *, services: Services, now: datetime
) -> PendingDelivery | None:
    """Mark the endpoint as busy and return the delivery that has been due longest.

    Release the endpoint and return None if no delivery is due.
    """
    delivery = session.scalars(_pending_query(scope, row.id).limit(1)).one_or_none()
    if delivery is None or delivery.next_attempt_at is None or delivery.next_attempt_at > now:
        row.busy_until = None
        if delivery is not None:
            endpoints.schedule_delivery(
                session, scope, webhook_id=row.id, due_at=delivery.next_attempt_at
            )
        return None
    try:
        signing_secrets = tuple(endpoints.signing_secrets(scope, row, now=now, services=services))
    except DecryptionError:
        row.busy_until = None
        log.get_logger().error("webhook.secret_unreadable", webhook_id=str(row.id))
        return None
    row.busy_until = now + BUSY_TIMEOUT
    body = json.dumps({name: delivery.payload[name] for name in ("type", "timestamp", "data")})
    return PendingDelivery(delivery.id, delivery.event_id, row.url, body, signing_secrets)


def _pending_query(scope: WebhookScope, webhook_id: UUID) -> Any:
    table = scope.deliveries
    is_pending = table.webhook_id == webhook_id, table.status == "pending"
    return select(table).where(*is_pending).order_by(table.next_attempt_at, table.created_at)


def _send(
    pending: PendingDelivery, client: OutgoingClient, *, connection_scope: UUID | str
) -> Attempt:
    now, started = clock.now(), monotonic()
    signature_headers = standard_webhooks.headers(
        pending.secrets, id=f"evt_{pending.event_id.hex}", sent_at=now, body=pending.body
    )
    headers = {"Content-Type": "application/json", **signature_headers}
    try:
        response = client.post(
            pending.url, pending.body, headers, connection_scope=connection_scope
        )
    except OutgoingError as error:
        return Attempt(now, _ms_since(started), error=str(error))
    return _attempt_from_response(response, now, _ms_since(started))


def _attempt_from_response(
    response: HttpResponse, attempted_at: datetime, duration_ms: int
) -> Attempt:
    excerpt = sanitize(response.body[: 4 * MAX_RESPONSE_CHARACTERS].decode(errors="replace"))[
        :MAX_RESPONSE_CHARACTERS
    ]
    return Attempt(
        attempted_at,
        duration_ms,
        status=response.status,
        response=excerpt or None,
        retry_after_s=parse_retry_after_s(
            response.headers.get("retry-after"), max_s=MAX_RETRY_AFTER_S
        ),
    )


def _record_attempt(
    session: Session,
    scope: WebhookScope,
    webhook_id: UUID,
    pending: PendingDelivery,
    attempt: Attempt,
    *,
    services: Services,
    continues: bool,
) -> PendingDelivery | None:
    """Store the result of an attempt; return the next delivery if this job continues."""
    now = clock.now()
    row = _lock_endpoint(session, scope, webhook_id)
    if row is None:
        return None
    delivery = session.get(scope.deliveries, pending.delivery_id, with_for_update=True)
    if delivery is not None and delivery.status == "pending":
        _update_delivery(delivery, attempt, now=now)
    _update_endpoint(session, scope, row, attempt, now=now)
    session.flush()
    metrics.WEBHOOK_ATTEMPTS.inc(outcome=attempt.outcome)
    if continues and row.is_active:
        return _next_delivery(session, scope, row, now=now, services=services)
    _release_endpoint(session, scope, row, now=now)
    return None


def _update_delivery(delivery: DeliveryMixin, attempt: Attempt, *, now: datetime) -> None:
    delivery.attempts = [*delivery.attempts, attempt.as_dict()][-MAX_STORED_ATTEMPTS:]
    delivery.tries += 1
    delivery.updated_at = now
    if attempt.succeeded:
        delivery.status, delivery.next_attempt_at = "delivered", None
    elif delivery.tries >= MAX_ATTEMPTS or now >= delivery.expires_at:
        delivery.status, delivery.next_attempt_at = "failed", None
    else:
        delivery.next_attempt_at = now + BACK_OFF.delay(
            delivery.tries, at_least_s=attempt.retry_after_s
        )


def _update_endpoint(
    session: Session, scope: WebhookScope, row: EndpointMixin, attempt: Attempt, *, now: datetime
) -> None:
    """Reset the endpoint after a success; pause or disable it after a failure."""
    if attempt.succeeded:
        row.failures, row.failing_since, row.paused_until = 0, None, None
        return
    row.failures += 1
    row.failing_since = row.failing_since or attempt.attempted_at
    row.paused_until = now + ENDPOINT_PAUSES.delay(row.failures, at_least_s=attempt.retry_after_s)
    if attempt.status == 410:
        _disable_endpoint(session, scope, row, "gone", now=now)
    elif now - row.failing_since >= DISABLE_AFTER:
        _disable_endpoint(session, scope, row, "failing", now=now)


def _disable_endpoint(
    session: Session, scope: WebhookScope, row: EndpointMixin, reason: str, *, now: datetime
) -> None:
    row.is_active, row.disabled_reason, row.disabled_at, row.updated_at = False, reason, now, now
    metrics.WEBHOOKS_DISABLED.inc(reason=reason, whose="tenant" if scope.tenant_id else "operator")
    session.flush()
    scope.emit_event(session, "webhook.disabled", {"webhook_id": str(row.id), "reason": reason})


def _release_endpoint(
    session: Session, scope: WebhookScope, row: EndpointMixin, *, now: datetime
) -> None:
    """Release the endpoint, and schedule its pending deliveries after its pause or when due."""
    row.busy_until = None
    if not row.is_active:
        return
    _expire_overdue(session, scope, row.id, now=now)
    is_pending = scope.deliveries.webhook_id == row.id, scope.deliveries.status == "pending"
    due = session.scalar(select(func.min(scope.deliveries.next_attempt_at)).where(*is_pending))
    if due is not None:
        due_at = max(due, row.paused_until or due)
        endpoints.schedule_delivery(
            session, scope, webhook_id=row.id, due_at=due_at if due_at > now else None
        )
    retention.schedule_purge(session, now=now)


def _expire_overdue(
    session: Session, scope: WebhookScope, webhook_id: UUID, *, now: datetime
) -> None:
    """Fail deliveries that have expired: an endpoint that was down may have too many to send.

    A delivery that was never tried is due since it was created, so the index finds it without
    reading all pending ones. A delivery that was tried fails at its next attempt.
    """
    table = scope.deliveries
    is_pending = table.webhook_id == webhook_id, table.status == "pending"
    overdue = *is_pending, table.next_attempt_at <= now - DELIVERY_LIFETIME, table.expires_at <= now
    session.execute(
        update(table).where(*overdue).values(status="failed", next_attempt_at=None, updated_at=now)
    )


def _ms_since(started: float) -> int:
    return round((monotonic() - started) * 1000)
