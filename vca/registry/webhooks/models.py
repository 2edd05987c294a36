"""The operator's endpoints, and the deliveries to them."""

from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase
from vca.registry.webhooks.mixins import (
    DeliveryMixin,
    EndpointMixin,
    delivery_constraints,
    endpoint_constraints,
)


class PlatformWebhook(EndpointMixin, PublicBase):
    """An endpoint of whoever runs this deployment: it wants the events of all tenants."""

    __tablename__ = "webhooks"
    __table_args__ = endpoint_constraints()


class PlatformDelivery(DeliveryMixin, PublicBase):
    """An event of some tenant on its way to the operator."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = delivery_constraints()

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("public.webhooks.id", ondelete="CASCADE"))
