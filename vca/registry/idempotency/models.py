"""One row for each Idempotency-Key of a platform operation."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import DateTime, Index, Table, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase


class IdempotencyKey(PublicBase):
    """A request with a key and its response; `status` is null while the request is in progress."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("api_key", "key"), Index(None, "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    api_key: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    request_hash: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    answer: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


PLATFORM_TABLE = cast(Table, IdempotencyKey.__table__)
