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
from vca.tenancy.session import enter
from vca.tenant.ai_profiles.models import AiProfile, AiProfileVersion
from vca.tenant.base import TenantBase

# What the tenant has set up itself, as it is now.
CONFIGURED = ("settings", "phone_numbers", "ai_profiles", "webhooks", "telephony_accounts")
# Read in one statement: what is searched by a regular expression must not take seconds.
WINDOW = 2_000
# What says when a row came about, the best first.
_MOMENTS = ("created_at", "started_at", "timestamp")
_VERSIONS = AiProfileVersion.__table__
# A profile as it is now, which is what the next call reads.
_IN_USE = exists().where(
    AiProfile.id == AiProfileVersion.ai_profile_id, AiProfile.version == AiProfileVersion.version
)


@dataclass(frozen=True)
class Searched:
    """A table with columns that may hold anything."""

    table: Table

    @property
    def keys(self) -> list[Any]:
        """The primary key's columns."""
        return list(self.table.primary_key.columns)

    @property
    def texts(self) -> list[Any]:
        """The columns that may hold anything."""
        return [it for it in self.table.columns if isinstance(it.type, Text | JSONB)]

    @property
    def call_id(self) -> Any | None:
        """The column that says of which call a row is."""
        return self.table.c.id if self.table.name == "calls" else self.table.c.get("call_id")

    @property
    def unique(self) -> set[str]:
        """The columns in which no two rows may say the same."""
        constraints = (it for it in self.table.constraints if isinstance(it, UniqueConstraint))
        return {column.name for it in constraints for column in it.columns}

    def naming(self, pattern: str) -> ColumnElement[bool]:
        """Whether any of the texts matches."""
        return or_(*(cast(column, Text).regexp_match(pattern) for column in self.texts))

    @property
    def moment(self) -> Any | None:
        """When a row came about, where the table says so."""
        return next((self.table.c[it] for it in _MOMENTS if it in self.table.c), None)


@dataclass(frozen=True)
class Stretch:
    """A stretch of a table: after a key, up to another; None: from the beginning, to the end."""

    after: tuple[Any, ...] | None
    last: tuple[Any, ...] | None


def tables(names: Sequence[str] = ()) -> Iterator[Searched]:
    """The tables of these names; without any, all but the configuration."""
    for table in TenantBase.metadata.sorted_tables:
        wanted = table.name in names if names else table.name not in CONFIGURED
        searched = Searched(table)
        if wanted and searched.texts:
            yield searched


def windows(
    tenant: TenantRef,
    searched: Searched,
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
        with enter(tenant) as session:
            last = session.execute(_last_key(searched, after)).one_or_none()
            stretch = Stretch(after, tuple(last) if last is not None else None)
            found = _matching(searched, pattern, until, stretch)
            rows = session.execute(found.with_for_update() if lock else found).all()
            if rows:
                yield session, rows
        if stretch.last is None:
            return
        after = stretch.last


def _last_key(searched: Searched, after: tuple[Any, ...] | None) -> Select[Any]:
    keys = searched.keys
    wanted = select(*keys).order_by(*keys).offset(WINDOW - 1).limit(1)
    return wanted if after is None else wanted.where(tuple_(*keys) > after)


def _matching(
    searched: Searched, pattern: str, until: datetime | None, stretch: Stretch
) -> Select[Any]:
    keys, call_id = searched.keys, searched.call_id
    columns = [*keys, *searched.texts, *([call_id] if call_id is not None else [])]
    wanted = select(*dict.fromkeys(columns)).where(searched.naming(pattern))
    if searched.table is _VERSIONS:
        wanted = wanted.where(~_IN_USE)
    if searched.moment is not None and until is not None:
        wanted = wanted.where(searched.moment <= until)
    if stretch.after is not None:
        wanted = wanted.where(tuple_(*keys) > stretch.after)
    return wanted if stretch.last is None else wanted.where(tuple_(*keys) <= stretch.last)
