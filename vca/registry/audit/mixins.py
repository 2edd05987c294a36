"""Columns that both audit tables share: ids and redacted changes, no data of callers."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import DateTime, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column


class AuditEntryMixin:
    """An operation, its actor and its object. No login has the privilege to change rows."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    # Ids ascend in order of creation, so the primary key is the only index that a list needs.
    id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(Text)
    key_id: Mapped[UUID | None]
    key_prefix: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    operation: Mapped[str] = mapped_column(Text)
    object_type: Mapped[str | None] = mapped_column(Text)
    object_id: Mapped[UUID | None]
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
