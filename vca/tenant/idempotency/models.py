"""Idempotency keys, written in the same transaction as the effect of the request."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Index, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.tenant.base import TenantBase, timestamp_column


class IdempotencyKey(TenantBase):
    """The request made under a key and its response; `status` is null while the request runs."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("api_key", "key"), Index(None, "created_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    api_key: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    request_hash: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    answer: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = timestamp_column()


TENANT_TABLE = cast(Table, IdempotencyKey.__table__)
