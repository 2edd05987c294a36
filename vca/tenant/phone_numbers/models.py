"""Phone numbers of one tenant; `public.dids` records which tenant owns a number."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import HASHED, PLAIN
from vca.tenant.ai_profiles.models import AiProfile
from vca.tenant.base import TenantBase, timestamp_column
from vca.tenant.telephony_accounts.models import TelephonyAccount

MODES = ("agent", "forward", "closed")
REGISTRATION_STATUSES = ("pending", "registered", "failed", "unregistered")


class PhoneNumber(TenantBase):
    """A number, how its calls are answered, and its registration status at the carrier.

    - `decision_url`: URL of the tenant that is asked before a call is answered.
    - `telephony_account_id`: the tenant's own carrier account; null means the deployment's account.
    - `previous_carrier`: where the number was before it moved, and until when calls from there are
      accepted.
    - `registration_round`: version of the registration request. The result of an earlier request is
      ignored.
    """

    __tablename__ = "phone_numbers"
    __audited_as__ = "phone_number"
    __table_args__ = (
        CheckConstraint("mode IN ('agent', 'forward', 'closed')", name="mode"),
        CheckConstraint(
            "registration_status IN ('pending', 'registered', 'failed', 'unregistered')",
            name="registration_status",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    did_number: Mapped[str] = mapped_column(Text, unique=True, info=HASHED)
    provider_type: Mapped[str] = mapped_column(Text, info=PLAIN)
    telephony_account_id: Mapped[UUID | None] = mapped_column(
        ForeignKey(TelephonyAccount.id), index=True
    )
    previous_carrier: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), info=PLAIN
    )
    label: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool]
    mode: Mapped[str] = mapped_column(Text, info=PLAIN)
    forward_to: Mapped[str | None] = mapped_column(Text, info=HASHED)
    ai_profile_id: Mapped[UUID | None] = mapped_column(ForeignKey(AiProfile.id), index=True)
    hours: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    fallback_number: Mapped[str | None] = mapped_column(Text, info=HASHED)
    decision_url: Mapped[str | None] = mapped_column(Text)
    decision_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    registration_status: Mapped[str] = mapped_column(Text, info=PLAIN)
    registration_code: Mapped[str | None] = mapped_column(Text)
    registration_detail: Mapped[str | None] = mapped_column(Text)
    registration_checked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    registration_next_attempt_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    registration_round: Mapped[int]
    created_at: Mapped[datetime] = timestamp_column()
    updated_at: Mapped[datetime] = timestamp_column()
