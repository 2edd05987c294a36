"""Whose endpoints are meant: which tables, how they are entered, and what sends for them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from vca.kit.at_rest import Place
from vca.registry.webhooks.columns import DeliveryColumns, EndpointColumns

Announce = Callable[[Session, str, dict[str, Any]], None]


class Order(Protocol):
    """Has what is due to an endpoint sent, now or then."""

    def __call__(
        self, session: Session, *, webhook_id: UUID, at: datetime | None, lock: str | None
    ) -> None:
        """Order the job."""


@dataclass(frozen=True)
class Box:
    """One owner's endpoints and deliveries.

    `order` enqueues the job that sends to one of them; `announce` tells the owner an event of this
    machinery itself.
    """

    endpoints: type[EndpointColumns]
    deliveries: type[DeliveryColumns]
    tenant_id: UUID | None
    open: Callable[[], AbstractContextManager[Session]]
    order: Order
    announce: Announce

    def place(self, webhook_id: UUID, column: str) -> Place:
        """Where an endpoint's secret is kept, which it is bound to."""
        return Place(self.tenant_id, "webhooks", webhook_id, column)
