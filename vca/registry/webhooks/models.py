"""The operator's endpoints, and the deliveries to them."""

from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase
from vca.registry.webhooks.columns import (
    DeliveryColumns,
    EndpointColumns,
    delivery_rules,
    endpoint_rules,
)


class OperatorWebhook(EndpointColumns, PublicBase):
    """An endpoint of whoever runs this deployment: it wants the events of all tenants."""

    __tablename__ = "webhooks"
    __table_args__ = endpoint_rules()


class OperatorDelivery(DeliveryColumns, PublicBase):
    """An event of some tenant on its way to the operator."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = delivery_rules()

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("public.webhooks.id", ondelete="CASCADE"))
