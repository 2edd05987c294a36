"""Declarative base for the tables of a tenant's schema."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Uuid, cast, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vca.kit import db


class TenantBase(DeclarativeBase):
    """A table that exists in every tenant's schema.

    Table names are unqualified. Postgres resolves them through the transaction's search path.
    """

    metadata = db.metadata()

    # Every insert sends the id of the transaction's tenant and a constraint of the schema checks
    # it. A row therefore cannot land in another tenant's schema, and a dump identifies its tenant.
    tenant_id: Mapped[UUID] = mapped_column(
        Uuid, default=cast(func.current_setting("vca.tenant_id"), Uuid)
    )


def timestamp_column() -> Mapped[datetime]:
    """Return a column for the row's creation or last change; its default is set by the database."""
    return mapped_column(DateTime(timezone=True), server_default=func.now())
