"""The ledger."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from vca.tenant.base import TenantBase


class UsageFact(TenantBase):
    """Something that was used, as it was rated when it was noted; never changed.

    `id` follows from `key`, so that the same fact is noted once. Of `quantity` units `included`
    were the plan's, the others cost `amount` millionths of the minor unit: `unit_price` for every
    `price_per`. `reverses` names the fact that this one takes back; all its figures are that one's,
    negative. `period` is the month (UTC) that it counts in, by its first day.
    """

    __tablename__ = "usage_facts"
    __table_args__ = (Index(None, "occurred_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    leg: Mapped[str | None] = mapped_column(Text)
    quantity: Mapped[int] = mapped_column(BigInteger)
    included: Mapped[int] = mapped_column(BigInteger)
    unit_price: Mapped[int] = mapped_column(BigInteger)
    price_per: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)
    plan: Mapped[str] = mapped_column(Text)
    plan_version: Mapped[int]
    period: Mapped[date]
    call_id: Mapped[UUID | None]
    phone_number_id: Mapped[UUID | None]
    reverses: Mapped[UUID | None]
    occurred_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    noted_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
