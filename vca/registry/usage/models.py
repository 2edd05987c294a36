"""Versions of plans, and a row for each tenant and month."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from vca.registry.base import PublicBase


class PlanVersion(PublicBase):
    """What a plan holds from a day on; never changed, so that a fact can name what it was rated by.

    `document`: currency, limits, included and prices.
    """

    __tablename__ = "plans"
    __table_args__ = (CheckConstraint("plan IN ('starter', 'growth', 'custom')", name="plan"),)

    plan: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    valid_from: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class UsagePeriod(PublicBase):
    """What a tenant has used in a month (UTC), named by its first day.

    `kinds` holds quantity, included and amount of each kind; amounts are millionths of the
    currency's minor unit. `told`: the thresholds that were told.
    """

    __tablename__ = "usage_periods"

    period: Mapped[date] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    kinds: Mapped[dict[str, list[int]]] = mapped_column(JSONB)
    told: Mapped[list[str]] = mapped_column(JSONB)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
