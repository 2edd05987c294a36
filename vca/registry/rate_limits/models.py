"""One row for each bucket that is not full."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase


class RateBucket(PublicBase):
    """The time at which a bucket is full again if no tokens are acquired meanwhile."""

    __tablename__ = "rate_buckets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    full_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
