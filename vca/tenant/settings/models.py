"""The settings of a tenant: one row, created with its schema."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import PLAIN
from vca.tenant.base import TenantBase, timestamp_column


class Settings(TenantBase):
    """A tenant's settings; the JSON documents hold only what differs from the defaults."""

    __tablename__ = "settings"
    __audited_as__ = "settings"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    time_zone: Mapped[str] = mapped_column(Text, server_default="UTC", info=PLAIN)
    sentences: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    phrases: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    home_country: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    hours: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    retention_days: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}", info=PLAIN)
    dial_policy: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}", info=PLAIN)
    variables: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    notification_email: Mapped[str | None] = mapped_column(Text)
    spend_cap: Mapped[int | None] = mapped_column(BigInteger)
    limits: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}", info=PLAIN)
    dialling_frozen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = timestamp_column()
