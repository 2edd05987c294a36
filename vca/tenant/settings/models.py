"""One row of settings for each tenant, made with its schema."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.tenant.base import TenantBase, timestamp


class Settings(TenantBase):
    """A tenant's settings; `sentences` holds only those that differ from the defaults."""

    __tablename__ = "settings"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    time_zone: Mapped[str] = mapped_column(Text, server_default="UTC")
    sentences: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    updated_at: Mapped[datetime] = timestamp()
