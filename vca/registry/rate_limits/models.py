"""One row for each bucket that is not full."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase


class RateBucket(PublicBase):
    """When a bucket will be full again, if nobody draws from it meanwhile."""

    __tablename__ = "rate_buckets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    full_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
