"""Privacy requests: exports and erasures."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.tenant.base import TenantBase

KINDS = ("export", "erasure")
STATUSES = ("pending", "waiting", "done", "expired")


class PrivacyRequest(TenantBase):
    """A request about one number, which is stored encrypted until it is done, then as a keyed hash.

    The request covers the data that existed at `created_at`. Status `waiting` means that a call of
    the person is still live.
    """

    __tablename__ = "privacy_requests"
    __table_args__ = (
        Index(None, "kind", "status"),
        CheckConstraint("kind IN ('export', 'erasure')", name="kind"),
        CheckConstraint("status IN ('pending', 'waiting', 'done', 'expired')", name="status"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    sealed_number: Mapped[bytes | None] = mapped_column(LargeBinary)
    number_hash: Mapped[str] = mapped_column(Text)
    result: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


# An export whose file is not written yet, or an erasure that is not complete.
IS_UNFINISHED = PrivacyRequest.status.in_(("pending", "waiting"))
