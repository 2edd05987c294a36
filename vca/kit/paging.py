"""Keyset pages: a page is found by the key values of the row before it, never by counting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

Item = TypeVar("Item")
DEFAULT_LIMIT = 25


@dataclass(frozen=True)
class PageRequest:
    """Which page is wanted: at most `limit` items after the row with these key values."""

    limit: int = DEFAULT_LIMIT
    after: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page, and the key values of its last row if another page follows."""

    items: Sequence[Item]
    next_after: tuple[Any, ...] | None = None


def fetch(
    session: Session,
    statement: Select[Item],
    page: PageRequest,
    *,
    keys: Sequence[InstrumentedAttribute[Any]],
    newest_first: bool = False,
) -> Page[Item]:
    """The page of `statement` in the order of `keys`, which must identify a row.

    One more row than asked for tells whether a page follows.
    """
    if page.after is not None:
        row, after = tuple_(*keys), tuple_(*page.after)
        statement = statement.where(row < after if newest_first else row > after)
    order = [key.desc() if newest_first else key.asc() for key in keys]
    rows = session.scalars(statement.order_by(*order).limit(page.limit + 1)).all()
    if len(rows) <= page.limit:
        return Page(rows)
    items = rows[: page.limit]
    return Page(items, tuple(getattr(items[-1], key.key) for key in keys))
