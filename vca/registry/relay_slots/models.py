"""One row for each call that speaks through a socket, or is about to."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, false
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase


class RelaySlot(PublicBase):
    """A slot: taken, opened once its socket is there, free again when it has run out."""

    __tablename__ = "relay_slots"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    opened: Mapped[bool] = mapped_column(server_default=false())
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
