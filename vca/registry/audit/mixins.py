"""What a row of either audit holds: ids, and what may be told of a change. Nothing of callers'."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import DateTime, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column


class AuditEntryMixin:
    """An operation, who did it, and to what. Never changed: no login has the right to."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    # In the order of their making, so that the key's is the one index that a list needs.
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
