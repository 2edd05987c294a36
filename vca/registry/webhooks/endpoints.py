"""Create, list, update and delete webhooks, and rotate their secrets."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from vca.kit import standard_webhooks
from vca.kit.encryption import DecryptionError
from vca.kit.errors import InvalidInput, NotFound
from vca.kit.http import OutgoingClient, RequestForbidden, Unreachable
from vca.kit.paging import Listing, Page, PageRequest
from vca.registry import caps
from vca.registry.webhooks.mixins import EndpointMixin
from vca.registry.webhooks.scope import WebhookScope
from vca.services import Services

# Both secrets sign during this time, because receivers are not updated at the same moment.
SECRET_OVERLAP = timedelta(hours=24)
CHECK_TIMEOUT_S = 5.0
# Emitting an event references the endpoint's row. With this lock mode it does not wait for a
# transaction that updates the endpoint or sends to it.
ROW_LOCK = {"key_share": True}


def check_url(url: str, *, client: OutgoingClient) -> None:
    """Raise InvalidInput for a URL that events are never sent to; resolves the host name."""
    try:
        client.check(url, timeout_s=CHECK_TIMEOUT_S)
    except (RequestForbidden, Unreachable) as error:
        raise InvalidInput.field("url", str(error)) from error


def create(
    session: Session, scope: WebhookScope, *, services: Services, **fields: Any
) -> tuple[EndpointMixin, str]:
    """Create a webhook; return (row, secret). Raises LimitReached.

    The secret is available in plain text only here.
    """
    caps.require_capacity(session, "webhooks", select(scope.endpoints.id))
    webhook_id, secret = uuid4(), standard_webhooks.new_secret()
    encrypted = services.keyring.encrypt(secret, scope.encryption_context(webhook_id, "secret"))
    row = scope.endpoints(
        **{"events": [], "is_active": True, **fields}, id=webhook_id, secret=encrypted
    )
    session.add(row)
    session.flush()
    return row, secret


def list_page(session: Session, scope: WebhookScope, *, page: PageRequest) -> Page:
    """Return a page of webhooks, oldest first."""
    return _listing(scope).page(session, page)


def get(
    session: Session, scope: WebhookScope, *, webhook_id: UUID, for_update: bool = False
) -> Any:
    """Return one webhook, locked with `for_update`; raise NotFound."""
    row_lock = ROW_LOCK if for_update else None
    row = session.get(
        scope.endpoints, webhook_id, with_for_update=row_lock, populate_existing=for_update
    )
    if row is None:
        raise NotFound
    return row


def change(
    session: Session, scope: WebhookScope, *, webhook_id: UUID, now: datetime, **fields: Any
) -> EndpointMixin:
    """Update the given fields; reactivation or a new URL resets the failures.

    Raises NotFound.
    """
    row: EndpointMixin = get(session, scope, webhook_id=webhook_id, for_update=True)
    was_active = row.is_active
    for name, value in fields.items():
        setattr(row, name, value)
    if row.is_active and (not was_active or "url" in fields):
        row.disabled_reason = row.disabled_at = row.failing_since = row.paused_until = None
        row.failures = 0
        schedule_delivery(session, scope, webhook_id=webhook_id)
    row.updated_at = now
    session.flush()
    return row


def remove(session: Session, scope: WebhookScope, *, webhook_id: UUID) -> None:
    """Delete a webhook and its deliveries. Raises NotFound."""
    get(session, scope, webhook_id=webhook_id, for_update=True)
    session.execute(delete(scope.endpoints).where(scope.endpoints.id == webhook_id))


def rotate_secret(
    session: Session, scope: WebhookScope, *, services: Services, webhook_id: UUID, now: datetime
) -> tuple[EndpointMixin, str]:
    """Replace the secret; the previous one also signs for a day. Raises NotFound.

    After a second rotation within the day only the last two secrets are kept. A previous secret
    that the current keys cannot decrypt is dropped.
    """
    row: EndpointMixin = get(session, scope, webhook_id=webhook_id, for_update=True)
    keys, secret = services.keyring, standard_webhooks.new_secret()
    row.previous_secret = row.previous_secret_until = None
    with suppress(DecryptionError):
        previous = keys.decrypt(row.secret, scope.encryption_context(webhook_id, "secret"))
        row.previous_secret = keys.encrypt(
            previous, scope.encryption_context(webhook_id, "previous_secret")
        )
        row.previous_secret_until = now + SECRET_OVERLAP
    row.secret = keys.encrypt(secret, scope.encryption_context(webhook_id, "secret"))
    row.updated_at = now
    session.flush()
    schedule_delivery(
        session, scope, webhook_id=webhook_id
    )  # deliveries that could not be signed are pending
    return row, secret


def signing_secrets(
    scope: WebhookScope, row: EndpointMixin, *, services: Services, now: datetime
) -> list[str]:
    """Return the secrets that sign at this moment, newest first."""
    keys = services.keyring
    active_secrets = [keys.decrypt(row.secret, scope.encryption_context(row.id, "secret"))]
    until = row.previous_secret_until
    if row.previous_secret is not None and until is not None and now < until:
        active_secrets.append(
            keys.decrypt(row.previous_secret, scope.encryption_context(row.id, "previous_secret"))
        )
    return active_secrets


def schedule_delivery(
    session: Session, scope: WebhookScope, *, webhook_id: UUID, due_at: datetime | None = None
) -> None:
    """Schedule the delivery of due events, now or at a given time.

    Immediate jobs have no queue lock: with one, a transaction that emits an event would wait for
    the transaction of the event before. A job without work is cheap. Later jobs have a lock per
    endpoint and five seconds.
    """
    lock = f"webhooks:{webhook_id}:{int(due_at.timestamp()) // 5}" if due_at is not None else None
    scope.schedule_job(session, webhook_id=webhook_id, due_at=due_at, lock=lock)


def _listing(scope: WebhookScope) -> Listing:
    table: Any = scope.endpoints
    return Listing(table, (table.created_at, table.id))
