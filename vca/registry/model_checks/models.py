"""One row for each model of each endpoint."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase


class StoredModelCheck(PublicBase):
    """The last check of a model: `support`, or `failure` with the server's status and code.

    `endpoint` is a hash of the base URL, which may contain a password.
    """

    __tablename__ = "model_checks"

    endpoint: Mapped[str] = mapped_column(Text, primary_key=True)
    model: Mapped[str] = mapped_column(Text, primary_key=True)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    checked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    support: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    failure: Mapped[str | None] = mapped_column(Text)
