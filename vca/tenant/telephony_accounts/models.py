"""A tenant's own carrier accounts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import PLAIN
from vca.tenant.base import TenantBase, timestamp_column


class TelephonyAccount(TenantBase):
    """An account at one carrier; `sealed` has its encrypted credentials (see `credentials`)."""

    __tablename__ = "telephony_accounts"
    __audited_as__ = "telephony_account"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider_type: Mapped[str] = mapped_column(Text, info=PLAIN)
    label: Mapped[str | None] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = timestamp_column()
    updated_at: Mapped[datetime] = timestamp_column()
