"""The declarative base of a tenant's schema: unqualified names, and whose each row is."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Uuid, cast, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vca.kit import db


class TenantBase(DeclarativeBase):
    """A table that exists in every tenant's schema, found through the transaction's path."""

    metadata = db.metadata()

    # Sent with every insert, from the transaction's own tenant, and checked by the schema's
    # constraint: a row cannot land in another tenant's schema, and a dump says whose it is.
    tenant_id: Mapped[UUID] = mapped_column(
        Uuid, default=cast(func.current_setting("vca.tenant_id"), Uuid)
    )


def timestamp_column() -> Mapped[datetime]:
    """A column for the moment of the row's last change or of its making, set by the database."""
    return mapped_column(DateTime(timezone=True), server_default=func.now())
