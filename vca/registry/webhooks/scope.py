"""The owner of webhooks: its tables, its sessions, and how its deliveries are scheduled."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit.encryption import EncryptionContext
from vca.registry.webhooks.mixins import DeliveryMixin, EndpointMixin
from vca.tenancy.database import TenantDatabase

EventEmitter = Callable[[Session, str, dict[str, Any]], None]


class JobScheduler(Protocol):
    """Schedules the job that sends due deliveries of an endpoint."""

    def __call__(
        self, session: Session, *, webhook_id: UUID, due_at: datetime | None, lock: str | None
    ) -> None:
        """Enqueue the job for now or for the time `due_at`."""


@dataclass(frozen=True)
class WebhookScope:
    """The webhooks and deliveries of one owner.

    `schedule_job` enqueues the job that sends to an endpoint. `emit_event` notifies the owner of
    events of the webhooks themselves.
    """

    endpoints: type[EndpointMixin]
    deliveries: type[DeliveryMixin]
    tenant_id: UUID | None
    open_session: Callable[[TenantDatabase], AbstractContextManager[Session]]
    schedule_job: JobScheduler
    emit_event: EventEmitter

    def encryption_context(self, webhook_id: UUID, column: str) -> EncryptionContext:
        """Return the encryption context of an endpoint's secret."""
        return EncryptionContext(self.tenant_id, "webhooks", webhook_id, column)
