"""The number registry, and the count of calls to numbers that no tenant has."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, DateTime, ForeignKey, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase, TenantRows

STATES = ("assigned", "claimed", "resting")


class Did(PublicBase):
    """A number, and the tenant that it is assigned to, claimed by, or quarantined for.

    A quarantined number has the state `resting`. With `telephony_account_id` null, calls come
    through the platform's account. After a number has moved to another carrier, `previous_…` is the
    carrier that may still deliver its calls until `previous_until`.
    """

    __tablename__ = "dids"
    __tenant_rows__ = TenantRows(archived=True, purged=True)
    __table_args__ = (
        CheckConstraint(r"did_number ~ '^\+[1-9][0-9]{6,14}$'", name="did_number"),
        CheckConstraint("state IN ('assigned', 'claimed', 'resting')", name="state"),
        CheckConstraint("state <> 'claimed' OR phone_number_id IS NOT NULL", name="claim"),
        CheckConstraint("(state = 'resting') = (rests_until IS NOT NULL)", name="rest"),
    )

    did_number: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("public.tenants.id"), index=True)
    state: Mapped[str] = mapped_column(Text)
    phone_number_id: Mapped[UUID | None]
    provider_type: Mapped[str | None] = mapped_column(Text)
    telephony_account_id: Mapped[UUID | None]
    previous_provider_type: Mapped[str | None] = mapped_column(Text)
    previous_account_id: Mapped[UUID | None]
    previous_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    registration_status: Mapped[str | None] = mapped_column(Text)
    rests_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class DidPermit(PublicBase):
    """The permission of a tenant to claim a number that is not assigned to it."""

    __tablename__ = "did_permits"
    __tenant_rows__ = TenantRows(archived=False, purged=True)

    did_number: Mapped[str] = mapped_column(Text, primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("public.tenants.id", ondelete="CASCADE"), primary_key=True
    )
    quarantined: Mapped[bool] = mapped_column(Boolean)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class UnroutedNumber(PublicBase):
    """The count of calls to a number that no tenant has."""

    __tablename__ = "did_misses"

    did_number: Mapped[str] = mapped_column(Text, primary_key=True)
    misses: Mapped[int] = mapped_column(BigInteger)
    first_missed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
    last_missed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
