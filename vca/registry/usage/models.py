"""Versions of plans, and one row for each tenant and month."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase, TenantRows


class PlanVersion(PublicBase):
    """A plan's contents from a date on; never changed, because usage facts refer to it.

    `document` has the currency, limits, included units and prices.
    """

    __tablename__ = "plans"
    __table_args__ = (CheckConstraint("plan IN ('starter', 'growth', 'custom')", name="plan"),)

    plan: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    valid_from: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class UsagePeriod(PublicBase):
    """A tenant's usage in a month (UTC), which is named by its first day.

    `kinds` has the quantity, included units and amount of each kind. Amounts are millionths of the
    currency's minor unit. `told` lists the thresholds that the tenant was notified of.
    """

    __tablename__ = "usage_periods"
    # An import rebuilds the months from the tenant's ledger.
    __tenant_rows__ = TenantRows(archived=False, purged=True)

    period: Mapped[date] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    kinds: Mapped[dict[str, list[int]]] = mapped_column(JSONB)
    told: Mapped[list[str]] = mapped_column(JSONB)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
