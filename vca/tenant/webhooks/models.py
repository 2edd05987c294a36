"""A tenant's events, webhooks and deliveries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.webhooks.mixins import (
    DeliveryMixin,
    EndpointMixin,
    delivery_constraints,
    endpoint_constraints,
)
from vca.tenant.base import TenantBase, timestamp_column


class WebhookEvent(TenantBase):
    """An emitted event; never changed."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    simulated: Mapped[bool]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = timestamp_column()


class Webhook(EndpointMixin, TenantBase):
    """A webhook of the tenant."""

    __tablename__ = "webhooks"
    __table_args__ = endpoint_constraints()


class Delivery(DeliveryMixin, TenantBase):
    """The delivery of an event to one of the tenant's webhooks."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = delivery_constraints()

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
