"""Declarative base for the tables of a tenant's schema, and helpers for their rows."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, Executable, Uuid, any_, cast, func, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

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


def any_id(column: Any, ids: Sequence[UUID]) -> ColumnElement[bool]:
    """Return `column = ANY (ids)`, one statement text for any number of ids."""
    condition: ColumnElement[bool] = column == any_(literal(list(ids), ARRAY(Uuid)))
    return condition


def execute_count(session: Session, statement: Executable) -> int:
    """Execute a change without updating loaded objects; return the number of rows."""
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)


def row_to_dict(row: TenantBase, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return a row's columns, except the tenant's id and those that are internal to VCA."""
    names = (column.name for column in row.__table__.columns)
    return {
        name: getattr(row, name) for name in names if name != "tenant_id" and name not in without
    }
