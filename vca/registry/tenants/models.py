"""Tenants, and the compiled script that creates the schema of a new tenant."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from vca.audit.redaction import PLAIN
from vca.registry.base import PublicBase

PLANS = ("starter", "growth", "custom")
STATUSES = ("active", "suspended", "deleted")
# Stands in place of a revision while the schema is being dropped, which cannot be undone.
PURGING = "purging"


class Tenant(PublicBase):
    """A business. Its schema is named after its id; its name is for display only."""

    __tablename__ = "tenants"
    __audited_as__ = "tenant"
    __table_args__ = (
        CheckConstraint("plan IN ('starter', 'growth', 'custom')", name="plan"),
        CheckConstraint("status IN ('active', 'suspended', 'deleted')", name="status"),
        Index(None, "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    plan: Mapped[str] = mapped_column(Text, info=PLAIN)
    status: Mapped[str] = mapped_column(Text, info=PLAIN)
    external_id: Mapped[str | None] = mapped_column(Text, unique=True)
    schema_revision: Mapped[str] = mapped_column(Text, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class TenantDdl(PublicBase):
    """The tenant migrations up to a revision, as one SQL script with placeholders."""

    __tablename__ = "tenant_ddl"

    revision: Mapped[str] = mapped_column(Text, primary_key=True)
    script: Mapped[str] = mapped_column(Text)
    installed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )
