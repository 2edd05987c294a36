"""The platform's webhooks and their deliveries."""

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
    """A webhook of the platform, which can receive the events of all tenants."""

    __tablename__ = "webhooks"
    __table_args__ = endpoint_constraints()


# The encrypted columns of the `public` schema, as (table, column).
ENCRYPTED_COLUMNS = (("webhooks", "secret"), ("webhooks", "previous_secret"))


class PlatformDelivery(DeliveryMixin, PublicBase):
    """The delivery of a tenant's event to the platform."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = delivery_constraints()

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("public.webhooks.id", ondelete="CASCADE"))
