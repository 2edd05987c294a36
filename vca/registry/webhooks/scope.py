"""Whose endpoints are meant: which tables, how they are entered, and what sends for them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit.encryption import EncryptionContext
from vca.registry.webhooks.mixins import DeliveryMixin, EndpointMixin

EventEmitter = Callable[[Session, str, dict[str, Any]], None]


class JobScheduler(Protocol):
    """Has what is due to an endpoint sent, now or then."""

    def __call__(
        self, session: Session, *, webhook_id: UUID, at: datetime | None, lock: str | None
    ) -> None:
        """Order the job."""


@dataclass(frozen=True)
class WebhookScope:
    """One owner's endpoints and deliveries.

    `order` enqueues the job that sends to one of them; `announce` tells the owner an event of this
    machinery itself.
    """

    endpoints: type[EndpointMixin]
    deliveries: type[DeliveryMixin]
    tenant_id: UUID | None
    open_session: Callable[[], AbstractContextManager[Session]]
    schedule_job: JobScheduler
    emit_event: EventEmitter

    def encryption_context(self, webhook_id: UUID, column: str) -> EncryptionContext:
        """Where an endpoint's secret is kept, which it is bound to."""
        return EncryptionContext(self.tenant_id, "webhooks", webhook_id, column)
