"""Messages that callers left."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import PLAIN
from vca.tenant.base import TenantBase, timestamp_column

KINDS = ("message", "voicemail")
STATUSES = ("new", "done")
MAIL_STATUSES = ("none", "pending", "sent", "failed")


class Message(TenantBase):
    """A message for the tenant.

    It refers to its call and recording by id and outlives both. `caller_number` comes from the
    network, `callback_number` from the caller's own words. A `simulated` message was left in a
    simulated call: it is neither mailed nor listed in the tenant's inbox.

    `mail_status` is null in messages of earlier releases.
    """

    __tablename__ = "messages"
    __audited_as__ = "message"
    __table_args__ = (
        CheckConstraint("kind IN ('message', 'voicemail')", name="kind"),
        CheckConstraint("status IN ('new', 'done')", name="status"),
        CheckConstraint("mail_status IN ('none', 'pending', 'sent', 'failed')", name="mail_status"),
        Index(None, "created_at", "id"),
        Index(None, "call_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    call_id: Mapped[UUID | None]
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    status: Mapped[str] = mapped_column(Text, server_default="new", info=PLAIN)
    caller_number: Mapped[str | None] = mapped_column(Text)
    callback_number: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    recording_id: Mapped[UUID | None]
    simulated: Mapped[bool] = mapped_column(server_default=text("false"), info=PLAIN)
    mail_status: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    mailed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = timestamp_column()
    updated_at: Mapped[datetime] = timestamp_column()
