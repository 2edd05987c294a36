"""Which idle connection serves a schema: one whose server process has read its catalogue already.

The first visit to a schema costs a server process some milliseconds, more than a whole request
otherwise, and more than a third of a MiB for as long as it lives. With thousands of schemas any
connection soon holds all that it may; so each keeps its own part of them, and the pool is as large
a memory as all of its connections together. What counts is the tables that were touched: a schema
of which one was is a small part of a whole one.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from sqlalchemy.util.queue import Empty, Queue

_CACHE_KEY = "memory"
# The part of what a connection may hold after which others are opened, while the pool may: of
# few connections, the one that knows is often in use.
SPREAD_DIVISOR = 8
# Statements whose tables are remembered; a product has some hundreds.
_STATEMENT_CACHE_SIZE = 4096
_preferred_schema: ContextVar[str | None] = ContextVar("wanted_schema", default=None)


class TenantTables:
    """The tables that each schema has, and which of them a statement is about.

    Without any it is not known what a statement touches, and each schema counts as a whole one.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        names = sorted(names)
        self._pattern = re.compile(rf"\b(?:{'|'.join(names)})\b") if names else None
        self.find_tables = lru_cache(_STATEMENT_CACHE_SIZE)(self._find_tables)
        # A schema itself counts like a table: its path, its role and its fence are read too.
        self.entries_per_schema = 1 + len(names)

    def _find_tables(self, statement: str) -> frozenset[str]:
        """Those named in it: maybe one too many. Foreign keys look into others, unnamed."""
        return frozenset(self._pattern.findall(statement) if self._pattern else ())


class CatalogueCache:
    """What the server process of one connection has read of the catalogue."""

    def __init__(self) -> None:
        self._schemas: dict[str, set[str]] = {}
        self._current_tables: set[str] = set()
        self.entry_count = 0

    def enter_schema(self, schema: str) -> None:
        """It serves `schema` from now on."""
        if schema not in self._schemas:
            self._schemas[schema] = set()
            self.entry_count += 1
        self._current_tables = self._schemas[schema]

    def add_tables(self, tables: frozenset[str]) -> None:
        """It has read these tables of the schema that it serves."""
        if not tables <= self._current_tables:
            self.entry_count += len(tables - self._current_tables)
            self._current_tables |= tables

    def has_seen(self, schema: str | None) -> bool:
        """Whether it has served it."""
        return schema in self._schemas


def catalogue_cache_of(info: dict[Any, Any]) -> CatalogueCache:
    """That of the connection with this `info`."""
    cache: CatalogueCache | None = info.get(_CACHE_KEY)
    if cache is None:
        cache = info[_CACHE_KEY] = CatalogueCache()
    return cache


@contextmanager
def prefer_schema(schema: str | None) -> Iterator[None]:
    """What is taken from a pool inside is meant for `schema`; None: for no schema in particular."""
    token = _preferred_schema.set(schema)
    try:
        yield
    finally:
        _preferred_schema.reset(token)


def is_over_budget(info: dict[Any, Any], max_schemas: int, tables: TenantTables) -> bool:
    """Whether the connection must end before it serves what is wanted now.

    It might then hold more of the catalogue than `most` whole schemas are. Without a wish: whether
    it does already.
    """
    cache, schema = catalogue_cache_of(info), _preferred_schema.get()
    is_new_schema = schema is not None and not cache.has_seen(schema)
    return (
        cache.entry_count + is_new_schema * tables.entries_per_schema
        > max_schemas * tables.entries_per_schema
    )


class SchemaAffinityQueue(Queue[Any]):
    """A pool's idle connections, those that were used last at the end.

    Whoever wants a schema gets the last that knows it, else one that remembers little yet. Is there
    neither, the pool opens another connection, or, when it may not, one that has room is taken, or
    the longest idle one makes room. Whoever wants none gets the last.
    """

    max_schemas: int
    tables: TenantTables

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As ever; and Empty, unless told to wait, if another one had better be opened."""
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
        """Where one is that knows what is wanted, or the longest idle with room in `most`."""
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
