"""The columns of endpoints and deliveries: the same in `public` and in every tenant's schema."""

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

from vca.audit.redaction import SHOWN

STATUSES = ("pending", "delivered", "failed")


class EndpointMixin:
    """A URL that wants events: all of them, or those whose types are in `events`.

    `failures`: how many attempts in a row had no success, since `failing_since`. `paused_until`:
    nothing is sent before. `busy_until`: a job is sending to it, and is dead if it takes longer.
    """

    __audited_as__ = "webhook"

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JSONB, info=SHOWN)
    is_active: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(Text, info=SHOWN)
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
    """An event on its way to one endpoint.

    `payload` is what is sent. `attempts` is every try there was, `tries` how many since it was last
    ordered: sent again, it has all of them anew.
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
    """The constraints of a table of endpoints, new for each."""
    return (CheckConstraint("disabled_reason IN ('gone', 'failing')", name="disabled_reason"),)


def delivery_constraints() -> tuple[UniqueConstraint | CheckConstraint | Index, ...]:
    """The constraints and indexes of a table of deliveries, new for each."""
    is_pending, due_order = (
        text("status = 'pending'"),
        ("webhook_id", "next_attempt_at", "created_at"),
    )
    return (
        UniqueConstraint("webhook_id", "event_id"),
        CheckConstraint("status IN ('pending', 'delivered', 'failed')", name="status"),
        Index(None, *due_order, postgresql_where=is_pending),
        Index(None, "webhook_id", "created_at", "id"),
        Index(None, "created_at"),
    )
