"""Recordings: what is stored where, and whether the carrier still has a copy."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from vca.tenant.base import TenantBase, timestamp_column

KINDS = ("call", "voicemail")
STATUSES = ("pending", "stored", "failed", "deleted")


class Recording(TenantBase):
    """The audio of one call or of its voicemail; refers to the call by id."""

    __tablename__ = "recordings"
    __table_args__ = (
        UniqueConstraint("call_id", "kind"),
        CheckConstraint("kind IN ('call', 'voicemail')", name="kind"),
        CheckConstraint("status IN ('pending', 'stored', 'failed', 'deleted')", name="status"),
        Index(None, "delete_after", postgresql_where=text("status = 'stored'")),
        CheckConstraint("carrier_copy IN ('kept', 'deleted')", name="carrier_copy"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    provider_type: Mapped[str] = mapped_column(Text)
    provider_call_id: Mapped[str] = mapped_column(Text)
    provider_recording_id: Mapped[str | None] = mapped_column(Text)
    telephony_account_id: Mapped[UUID | None]
    content_type: Mapped[str | None] = mapped_column(Text)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(Text)
    storage_key: Mapped[str | None] = mapped_column(Text)
    carrier_copy: Mapped[str] = mapped_column(Text)
    delete_after: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = timestamp_column()
    updated_at: Mapped[datetime] = timestamp_column()
