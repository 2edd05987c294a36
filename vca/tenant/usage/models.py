"""The usage ledger."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from vca.tenant.base import TenantBase


class UsageFact(TenantBase):
    """A quantity of usage, rated when it was recorded, and never changed.

    - `id` is derived from `key`, so that the same fact is recorded once.
    - Of `quantity` units `included` were part of the plan. The others cost `amount` millionths of
      the minor unit: `unit_price` for every `price_per` units.
    - `reverses` is the id of the fact that this one reverses. Its figures are the negated figures
      of that fact.
    - `period` is the first day of the month (UTC) that the fact counts in.
    """

    __tablename__ = "usage_facts"
    __table_args__ = (
        Index(None, "occurred_at"),
        Index(
            "usage_facts_simulated_idx",
            "occurred_at",
            postgresql_include=["quantity"],
            postgresql_where=text("kind = 'simulated_tokens'"),
        ),
    )

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
