"""Keyset pagination: a page starts after the key values of the last row; rows are not counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, select, tuple_
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

DEFAULT_LIMIT = 25


@dataclass(frozen=True)
class PageRequest:
    """The requested page: at most `limit` items after the row with these key values."""

    limit: int = DEFAULT_LIMIT
    after: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Page:
    """One page of rows, and the key values of its last row if another page follows."""

    items: Sequence[Any]
    next_after: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Listing:
    """How a table is listed: sorted by `keys`, which must identify a row.

    A list is read as rows, not as ORM objects, and each statement, which depends only on the
    filters in use, is built once and cached. Both cost more than executing the statement.
    """

    table: type[DeclarativeBase]
    keys: tuple[InstrumentedAttribute[Any], ...]
    newest_first: bool = False

    def page(
        self, session: Session, page: PageRequest, filters: Mapping[str, Any] | None = None
    ) -> Page:
        """Return one page of the rows whose columns match `filters`.

        A filter is a column name; None matches NULL. With the suffix `__gt` or `__lt` it is an
        exclusive bound, with `__in` a list of values. The query reads one row more than requested
        to find out whether another page follows.
        """
        filter_values = filters or {}
        shape = tuple((name, value is None) for name, value in filter_values.items())
        statement = _statement(self, shape, page.after is not None)
        values = {f"f_{name}": value for name, value in filter_values.items() if value is not None}
        for index, value in enumerate(page.after or ()):
            values[f"after_{index}"] = value
        result = session.connection().execute(statement, {**values, "most": page.limit + 1})
        rows = result.all()
        if len(rows) <= page.limit:
            return Page(rows)
        items = rows[: page.limit]
        return Page(items, tuple(getattr(items[-1], key.key) for key in self.keys))


@lru_cache(maxsize=1024)
def _statement(
    listing: Listing, shape: tuple[tuple[str, bool], ...], later_page: bool
) -> Select[Any]:
    statement = select(*listing.table.__table__.columns)
    for name, is_null in shape:
        statement = statement.where(_condition(listing.table, name, is_null))
    if later_page:
        after = tuple_(
            *(bindparam(f"after_{i}", type_=key.type) for i, key in enumerate(listing.keys))
        )
        row = tuple_(*listing.keys)
        statement = statement.where(row < after if listing.newest_first else row > after)
    order = [key.desc() if listing.newest_first else key.asc() for key in listing.keys]
    return statement.order_by(*order).limit(bindparam("most"))


def _condition(table: type[DeclarativeBase], name: str, is_null: bool) -> Any:
    column_name, _, bound = name.partition("__")
    column = getattr(table, column_name)
    if is_null:
        return column.is_(None)
    value = bindparam(f"f_{name}", type_=column.type, expanding=bound == "in")
    match bound:
        case "gt":
            return column > value
        case "lt":
            return column < value
        case "in":
            return column.in_(value)
    return column == value
