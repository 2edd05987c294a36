"""Every table of the tenant's that may hold anything, read stretch by stretch.

The tables are those that the process has loaded, so that a new feature's are searched too.
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
    exists,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from vca.tenancy.schema import TenantRef
from vca.tenancy.session import tenant_session
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion
from vca.tenant.base import TenantBase

# What the tenant has set up itself, as it is now.
CONFIGURATION_TABLES = (
    "settings",
    "phone_numbers",
    "ai_profiles",
    "webhooks",
    "telephony_accounts",
)
# Read in one statement: what is searched by a regular expression must not take seconds.
WINDOW_ROWS = 2_000
# What says when a row came about, the best first.
_TIMESTAMP_COLUMNS = ("created_at", "started_at", "timestamp")
_VERSIONS_TABLE = AiProfileVersion.__table__
# A profile as it is now, which is what the next call reads.
_IS_CURRENT_VERSION = exists().where(
    AiProfile.id == AiProfileVersion.ai_profile_id, AiProfile.version == AiProfileVersion.version
)


@dataclass(frozen=True)
class SearchableTable:
    """A table with columns that may hold anything."""

    table: Table

    @property
    def key_columns(self) -> list[Any]:
        """The primary key's columns."""
        return list(self.table.primary_key.columns)

    @property
    def text_columns(self) -> list[Any]:
        """The columns that may hold anything."""
        return [column for column in self.table.columns if isinstance(column.type, Text | JSONB)]

    @property
    def call_id_column(self) -> Any | None:
        """The column that says of which call a row is."""
        return self.table.c.id if self.table.name == "calls" else self.table.c.get("call_id")

    @property
    def unique_columns(self) -> set[str]:
        """The columns in which no two rows may say the same."""
        constraints = (
            constraint
            for constraint in self.table.constraints
            if isinstance(constraint, UniqueConstraint)
        )
        return {column.name for constraint in constraints for column in constraint.columns}

    def matches(self, pattern: str) -> ColumnElement[bool]:
        """Whether any of the texts matches."""
        return or_(*(cast(column, Text).regexp_match(pattern) for column in self.text_columns))

    @property
    def timestamp_column(self) -> Any | None:
        """When a row came about, where the table says so."""
        return next(
            (self.table.c[name] for name in _TIMESTAMP_COLUMNS if name in self.table.c), None
        )


@dataclass(frozen=True)
class KeyRange:
    """A stretch of a table: after a key, up to another; None: from the beginning, to the end."""

    after: tuple[Any, ...] | None
    last: tuple[Any, ...] | None


def searchable_tables(names: Sequence[str] = ()) -> Iterator[SearchableTable]:
    """The tables of these names; without any, all but the configuration."""
    for table in TenantBase.metadata.sorted_tables:
        is_selected = table.name in names if names else table.name not in CONFIGURATION_TABLES
        searchable = SearchableTable(table)
        if is_selected and searchable.text_columns:
            yield searchable


def scan_windows(
    tenant: TenantRef,
    searchable: SearchableTable,
    pattern: str,
    *,
    until: datetime | None = None,
    lock: bool = False,
) -> Iterator[tuple[Session, Sequence[Row[Any]]]]:
    """The rows that match and came about by then, each stretch of them in a transaction of its own.

    That lasts until the next stretch is asked for. `lock` holds the rows.
    """
    after: tuple[Any, ...] | None = None
    while True:
        with tenant_session(tenant) as session:
            last = session.execute(_last_key(searchable, after)).one_or_none()
            key_range = KeyRange(after, tuple(last) if last is not None else None)
            query = _matching_rows(searchable, pattern, until, key_range)
            rows = session.execute(query.with_for_update() if lock else query).all()
            if rows:
                yield session, rows
        if key_range.last is None:
            return
        after = key_range.last


def _last_key(searchable: SearchableTable, after: tuple[Any, ...] | None) -> Select[Any]:
    keys = searchable.key_columns
    query = select(*keys).order_by(*keys).offset(WINDOW_ROWS - 1).limit(1)
    return query if after is None else query.where(tuple_(*keys) > after)


def _matching_rows(
    searchable: SearchableTable, pattern: str, until: datetime | None, key_range: KeyRange
) -> Select[Any]:
    keys, call_id_column = searchable.key_columns, searchable.call_id_column
    columns = [
        *keys,
        *searchable.text_columns,
        *([call_id_column] if call_id_column is not None else []),
    ]
    query = select(*dict.fromkeys(columns)).where(searchable.matches(pattern))
    if searchable.table is _VERSIONS_TABLE:
        query = query.where(~_IS_CURRENT_VERSION)
    if searchable.timestamp_column is not None and until is not None:
        query = query.where(searchable.timestamp_column <= until)
    if key_range.after is not None:
        query = query.where(tuple_(*keys) > key_range.after)
    return query if key_range.last is None else query.where(tuple_(*keys) <= key_range.last)
