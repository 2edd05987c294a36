"""Read every table that may contain text of any kind, one window of rows at a time.

The tables are those of the loaded models, so that tables of a new feature are searched too. The
features' lifecycle hooks say which rows are configuration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    Text,
    UniqueConstraint,
    cast,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from vca.services import Services
from vca.services.lifecycle_hooks import TenantTable
from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.base import TenantBase

# Rows that one statement reads: a search by a regular expression must not take seconds.
WINDOW_ROWS = 2_000
# Columns with the time of a row's creation, in order of preference.
_TIMESTAMP_COLUMNS = ("created_at", "started_at", "timestamp")


@dataclass(frozen=True)
class SearchableTable:
    """A table with columns that may contain text of any kind."""

    declaration: TenantTable

    @property
    def table(self) -> Table:
        """The table."""
        return self.declaration.table

    @property
    def key_columns(self) -> list[Any]:
        """The columns of the primary key."""
        return list(self.table.primary_key.columns)

    @property
    def text_columns(self) -> list[Any]:
        """The columns that may contain text of any kind."""
        return [column for column in self.table.columns if isinstance(column.type, Text | JSONB)]

    @property
    def call_id_column(self) -> Any | None:
        """The column with the id of the row's call, or None."""
        return self.table.c.get(self.declaration.call_id)

    @property
    def unique_columns(self) -> set[str]:
        """The names of the columns with unique values."""
        constraints = (
            constraint
            for constraint in self.table.constraints
            if isinstance(constraint, UniqueConstraint)
        )
        return {column.name for constraint in constraints for column in constraint.columns}

    def matches(self, pattern: str) -> ColumnElement[bool]:
        """Return the condition that any of the text columns matches the pattern."""
        return or_(*(cast(column, Text).regexp_match(pattern) for column in self.text_columns))

    @property
    def timestamp_column(self) -> Any | None:
        """The column with the time of the row's creation, or None."""
        return next(
            (self.table.c[name] for name in _TIMESTAMP_COLUMNS if name in self.table.c), None
        )


@dataclass(frozen=True)
class KeyRange:
    """The rows after key `after` up to and including key `last`; None means unbounded."""

    after: tuple[Any, ...] | None
    last: tuple[Any, ...] | None


def searchable_tables(
    *, services: Services, configuration: bool = False
) -> Iterator[SearchableTable]:
    """Yield the tables that are configuration as a whole, or all others."""
    declarations = services.lifecycle_hooks.tables
    for table in TenantBase.metadata.sorted_tables:
        searchable = SearchableTable(declarations[table.name])
        is_configuration = searchable.declaration.configuration is True
        if is_configuration is configuration and searchable.text_columns:
            yield searchable


def scan_windows(
    tenant: TenantRef,
    searchable: SearchableTable,
    pattern: str,
    *,
    services: Services,
    until: datetime | None = None,
) -> Iterator[tuple[Session, Sequence[Row[Any]]]]:
    """Yield the matching rows that existed at `until`, each window in its own transaction.

    The transaction ends when the next window is requested.
    """
    after: tuple[Any, ...] | None = None
    while True:
        with tenant_session(tenant, database=services.database) as session:
            last = session.execute(_last_key(searchable, after)).one_or_none()
            key_range = KeyRange(after, tuple(last) if last is not None else None)
            rows = session.execute(_matching_rows(searchable, pattern, until, key_range)).all()
            if rows:
                yield session, rows
        if key_range.last is None:
            return
        after = key_range.last


def lock_rows(
    session: Session, searchable: SearchableTable, rows: Sequence[Row[Any]]
) -> list[Row[Any]]:
    """Lock rows of a window, and return them as they are now, without those that are gone."""
    if not rows:
        return []
    keys = [tuple(row._mapping[key] for key in searchable.key_columns) for row in rows]
    query = _select_row(searchable).where(tuple_(*searchable.key_columns).in_(keys))
    return list(session.execute(query.with_for_update()).all())


def _last_key(searchable: SearchableTable, after: tuple[Any, ...] | None) -> Select[Any]:
    keys = searchable.key_columns
    query = select(*keys).order_by(*keys).offset(WINDOW_ROWS - 1).limit(1)
    return query if after is None else query.where(tuple_(*keys) > after)


def _matching_rows(
    searchable: SearchableTable, pattern: str, until: datetime | None, key_range: KeyRange
) -> Select[Any]:
    keys = searchable.key_columns
    query = _select_row(searchable).where(searchable.matches(pattern))
    if isinstance(searchable.declaration.configuration, ColumnElement):
        query = query.where(~searchable.declaration.configuration)
    if searchable.timestamp_column is not None and until is not None:
        query = query.where(searchable.timestamp_column <= until)
    if key_range.after is not None:
        query = query.where(tuple_(*keys) > key_range.after)
    return query if key_range.last is None else query.where(tuple_(*keys) <= key_range.last)


def _select_row(searchable: SearchableTable) -> Select[Any]:
    """Return a query of the rows' keys, texts and call ids."""
    call_id_column = searchable.call_id_column
    columns = [
        *searchable.key_columns,
        *searchable.text_columns,
        *([call_id_column] if call_id_column is not None else []),
    ]
    return select(*dict.fromkeys(columns))
