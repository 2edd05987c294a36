"""Keyset pagination: a page starts after the key values of the last row; rows are not counted."""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import (
    ARRAY,
    Connection,
    Dialect,
    Float,
    Numeric,
    Select,
    any_,
    bindparam,
    select,
    tuple_,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session
from sqlalchemy.types import TypeEngine

from vca.kit import db

DEFAULT_LIMIT = 25
# https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat
_FLOAT8_OID, _NUMERIC_OID = 701, 1700


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


class RowReader(Protocol):
    """Executes statements that change and lock nothing."""

    @property
    def dialect(self) -> Dialect:
        """The dialect of the database."""

    def fetch_rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""


@dataclass(frozen=True)
class SessionReader:
    """Reads in the transaction of a connection."""

    connection: Connection

    @property
    def dialect(self) -> Dialect:
        """The dialect of the database."""
        return self.connection.dialect

    def fetch_rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        return db.fetch_rows(self.connection, statement, parameters)


@dataclass(frozen=True)
class Listing:
    """How a table is listed: sorted by `keys`, which must identify a row.

    A list is read as rows with the driver's cursor, not as ORM objects, and the SQL, which depends
    only on the filters in use, is built once and cached. SQLAlchemy takes longer to execute a
    statement than the server.
    """

    table: type[DeclarativeBase]
    keys: tuple[InstrumentedAttribute[Any], ...]
    newest_first: bool = False

    def page(
        self,
        source: Session | RowReader,
        page: PageRequest,
        filters: Mapping[str, Any] | None = None,
    ) -> Page:
        """Return one page of the rows whose columns match `filters`.

        `source` is a session, or reads each statement in a transaction of its own.

        A filter is a column name; None matches NULL. With the suffix `__gt` or `__lt` it is an
        exclusive bound, with `__in` a list of values. The query reads one row more than requested
        to find out whether another page follows.
        """
        filter_values = filters or {}
        reader = SessionReader(source.connection()) if isinstance(source, Session) else source
        shape = tuple((name, value is None) for name, value in filter_values.items())
        query = _query(self, shape, page.after is not None, reader.dialect)
        values = {f"f_{name}": value for name, value in filter_values.items() if value is not None}
        for index, value in enumerate(page.after or ()):
            values[f"after_{index}"] = value
        rows = query.fetch(reader, {**values, "most": page.limit + 1})
        if len(rows) <= page.limit:
            return Page(rows)
        items = rows[: page.limit]
        return Page(items, tuple(getattr(items[-1], key.key) for key in self.keys))


@dataclass(frozen=True)
class _Query:
    """A statement as SQL, with what converts its parameters and its rows."""

    sql: str
    convert_parameter: Mapping[str, Callable[[Any], Any]]
    convert_column: Mapping[int, Callable[[Any], Any]]
    make_row: Callable[[Iterable[Any]], Any]

    def fetch(self, reader: RowReader, values: dict[str, Any]) -> list[Any]:
        """Return the rows as named tuples."""
        for name, convert in self.convert_parameter.items():
            values[name] = convert(values[name])
        rows = reader.fetch_rows(self.sql, values)
        if self.convert_column:
            rows = [self._convert_row(row) for row in rows]
        return list(map(self.make_row, rows))

    def _convert_row(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for index, convert in self.convert_column.items():
            values[index] = convert(values[index])
        return tuple(values)


@lru_cache(maxsize=1024)
def _query(
    listing: Listing, shape: tuple[tuple[str, bool], ...], later_page: bool, dialect: Dialect
) -> _Query:
    statement = _statement(listing, shape, later_page)
    compiled, columns = statement.compile(dialect=dialect), listing.table.__table__.columns
    parameters = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect)
        for name, bind in compiled.binds.items()
    }
    results = [
        column.type.dialect_impl(dialect).result_processor(dialect, _type_oid(column.type))
        for column in columns
    ]
    make_row_type: Any = namedtuple  # mypy accepts only fixed names
    row_type = make_row_type("ListedRow", columns.keys())
    return _Query(
        str(compiled),
        {name: convert for name, convert in parameters.items() if convert is not None},
        {index: convert for index, convert in enumerate(results) if convert is not None},
        row_type._make,
    )


def _type_oid(column_type: TypeEngine[Any]) -> int | None:
    """Return the type's number in PostgreSQL, where the conversion of its values depends on it."""
    if isinstance(column_type, Float):
        return _FLOAT8_OID
    return _NUMERIC_OID if isinstance(column_type, Numeric) else None


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
    if bound == "in":
        return column == any_(bindparam(f"f_{name}", type_=ARRAY(column.type)))
    value = bindparam(f"f_{name}", type_=column.type)
    match bound:
        case "gt":
            return column > value
        case "lt":
            return column < value
    return column == value
