"""Chooses, for a schema, an idle connection whose server process has cached its catalogue already.

The first visit to a schema costs a server process several milliseconds, more than the rest of a
request, and over a third of a MiB for the life of the process. With thousands of schemas, every
connection soon reaches its limit. So each connection serves its own subset of the schemas, and the
connections of the pool together cache as many schemas as possible. The unit is the touched table: a
schema of which one table was touched counts as a small part of a whole one.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from sqlalchemy.util.queue import Empty, Queue

_CACHE_KEY = "catalogue_cache"
# A connection counts as nearly empty below 1/8 of its limit. Once no idle connection is, the pool
# opens further connections up to its size: with few connections, the one that has seen a schema is
# often in use.
SPREAD_DIVISOR = 8
# The number of statements whose tables are cached; the product has several hundred.
_STATEMENT_CACHE_SIZE = 4096
_preferred_schema: ContextVar[str | None] = ContextVar("preferred_schema", default=None)


class TenantTables:
    """The tables that each schema has; finds those that a statement names.

    Without table names, the tables of a statement are unknown, and each schema counts as a whole
    one.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        names = sorted(names)
        self._pattern = re.compile(rf"\b(?:{'|'.join(names)})\b") if names else None
        self.find_tables = lru_cache(_STATEMENT_CACHE_SIZE)(self._find_tables)
        # The schema itself counts as one table: its search path, role and identity check are read
        # too.
        self.entries_per_schema = 1 + len(names)

    def _find_tables(self, statement: str) -> frozenset[str]:
        """Return the tables named in a statement.

        The result may contain a table too many. Tables that are read only through foreign keys are
        missing.
        """
        return frozenset(self._pattern.findall(statement) if self._pattern else ())


class CatalogueCache:
    """What the server process of one connection has read of the catalogue."""

    def __init__(self) -> None:
        self._schemas: dict[str, set[str]] = {}
        self._current_tables: set[str] = set()
        self.entry_count = 0
        self.current_schema: str | None = None
        self.tables = TenantTables()

    def enter_schema(self, schema: str) -> None:
        """Record that the connection serves `schema` from now on."""
        if schema not in self._schemas:
            self._schemas[schema] = set()
            self.entry_count += 1
        self._current_tables = self._schemas[schema]
        self.current_schema = schema

    def enter_statement(self, statement: str) -> None:
        """Record that the connection has read the tables that a statement names."""
        self.add_tables(self.tables.find_tables(statement))

    def add_tables(self, tables: frozenset[str]) -> None:
        """Record that the connection has read these tables of its current schema."""
        if not tables <= self._current_tables:
            self.entry_count += len(tables - self._current_tables)
            self._current_tables |= tables

    def has_seen(self, schema: str | None) -> bool:
        """Return whether the connection has served the schema."""
        return schema in self._schemas


def catalogue_cache_of(info: dict[Any, Any]) -> CatalogueCache:
    """Return the cache record of the connection with this `info`."""
    cache: CatalogueCache | None = info.get(_CACHE_KEY)
    if cache is None:
        cache = info[_CACHE_KEY] = CatalogueCache()
    return cache


@contextmanager
def prefer_schema(schema: str | None) -> Iterator[None]:
    """Prefer pooled connections that have seen `schema` inside the block; None: no preference."""
    token = _preferred_schema.set(schema)
    try:
        yield
    finally:
        _preferred_schema.reset(token)


def is_over_budget(info: dict[Any, Any], max_schemas: int, tables: TenantTables) -> bool:
    """Return whether the connection must be closed before it serves the preferred schema.

    That is so if its server process could then hold more than `max_schemas` whole schemas. Without
    a preferred schema, return whether it already does.
    """
    cache, schema = catalogue_cache_of(info), _preferred_schema.get()
    is_new_schema = schema is not None and not cache.has_seen(schema)
    return (
        cache.entry_count + is_new_schema * tables.entries_per_schema
        > max_schemas * tables.entries_per_schema
    )


class SchemaAffinityQueue(Queue[Any]):
    """The idle connections of a pool; the most recently used ones are at the end.

    If a schema is preferred, the connection is chosen in this order:

    1. the most recently used one that has seen the schema
    2. the longest idle one that is nearly empty
    3. a new connection, if the pool may open one
    4. the longest idle one with room for a whole schema
    5. the longest idle one, which is then replaced

    Without a preference, the most recently used one is taken.
    """

    max_schemas: int
    tables: TenantTables

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return a connection; raise Empty if not `block` and a new connection is preferable."""
        with self.mutex:
            if (
                not block
                and self.queue
                and self._find_suitable(self.max_schemas / SPREAD_DIVISOR) is None
            ):
                raise Empty
            return super().get(block, timeout)

    def _get(self) -> Any:
        index = self._find_suitable(self.max_schemas / SPREAD_DIVISOR)
        if index is None:
            index = self._find_suitable(self.max_schemas) or 0
        record = self.queue[index]
        del self.queue[index]
        return record

    def _find_suitable(self, max_schemas: float) -> int | None:
        """Return the index of the best connection for the preferred schema, or None.

        That is one that has seen the schema, or else the longest idle one with room for a whole
        schema below the limit `max_schemas`.
        """
        schema, last = _preferred_schema.get(), len(self.queue) - 1
        if schema is None:
            return last
        index_with_room, max_entries = None, (max_schemas - 1) * self.tables.entries_per_schema
        for index in range(last, -1, -1):
            cache = catalogue_cache_of(self.queue[index].info)
            if cache.has_seen(schema):
                return index
            if cache.entry_count <= max(0.0, max_entries):
                index_with_room = index
        return index_with_room
