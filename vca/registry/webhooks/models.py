"""The operator's endpoints, and the deliveries to them."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase
from vca.registry.webhooks.columns import DeliveryColumns, EndpointColumns


class OperatorWebhook(EndpointColumns, PublicBase):
    """An endpoint of whoever runs this deployment: it wants the events of all tenants."""

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("disabled_reason IN ('gone', 'failing')", name="disabled_reason"),
    )


class OperatorDelivery(DeliveryColumns, PublicBase):
    """An event of some tenant on its way to the operator."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event_id"),
        CheckConstraint("status IN ('pending', 'delivered', 'failed')", name="status"),
        Index(
            None,
            "webhook_id",
            "next_attempt_at",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(None, "webhook_id", "created_at", "id"),
        Index(None, "created_at"),
    )

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("public.webhooks.id", ondelete="CASCADE"))
