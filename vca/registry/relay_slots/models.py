"""One row for each call with a voice WebSocket, or that is about to open one."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, false
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase


class RelaySlot(PublicBase):
    """A slot: acquired, then `opened` when its WebSocket connects, free when its lease expires."""

    __tablename__ = "relay_slots"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    opened: Mapped[bool] = mapped_column(server_default=false())
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
