"""Columns of webhooks and deliveries: the same in `public` and in every tenant's schema."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import PLAIN

STATUSES = ("pending", "delivered", "failed")


class EndpointMixin:
    """A URL that receives events: all of them, or those with the types in `events`.

    `failures` counts the consecutive failed attempts since `failing_since`. Nothing is sent before
    `paused_until`. `busy_until` is set while a job sends to the endpoint; a job that takes longer
    is dead.
    """

    __audited_as__ = "webhook"

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JSONB, info=PLAIN)
    is_active: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    previous_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_secret_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    failures: Mapped[int] = mapped_column(server_default="0")
    failing_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    paused_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    busy_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class DeliveryMixin:
    """The delivery of an event to one endpoint.

    `payload` is the body that is sent. `attempts` has every attempt. `tries` counts the attempts
    since the delivery was last scheduled: a redelivery starts with all attempts again.
    """

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID]
    event_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    tries: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    next_attempt_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


def endpoint_constraints() -> tuple[CheckConstraint]:
    """Return new constraints for a table of endpoints."""
    return (CheckConstraint("disabled_reason IN ('gone', 'failing')", name="disabled_reason"),)


def delivery_constraints() -> tuple[UniqueConstraint | CheckConstraint | Index, ...]:
    """Return new constraints and indexes for a table of deliveries."""
    is_pending, due_order = (
        text("status = 'pending'"),
        ("webhook_id", "next_attempt_at", "created_at"),
    )
    return (
        UniqueConstraint("webhook_id", "event_id"),
        CheckConstraint("status IN ('pending', 'delivered', 'failed')", name="status"),
        Index(None, *due_order, postgresql_where=is_pending),
        Index(None, "webhook_id", "created_at", "id"),
        Index(
            "webhook_deliveries_test_idx",
            "webhook_id",
            "created_at",
            postgresql_where=text("type = 'webhook.test'"),
        ),
        Index(None, "created_at"),
    )
