"""Counts what the server process of a connection has read of the tenants' catalogues.

A server process keeps over a third of a MiB for each schema that it has visited, until it ends. So
the pool replaces a connection that has visited too many. The unit is the touched table: a schema of
which one table was touched counts as a small part of a whole one.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_CACHE_KEY = "catalogue_cache"
# The number of statements whose tables are cached; the product has several hundred.
_STATEMENT_CACHE_SIZE = 4096


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

    def has_room(self, max_schemas: int) -> bool:
        """Return whether a further whole schema keeps the count within `max_schemas` schemas."""
        return self.entry_count <= (max_schemas - 1) * self.tables.entries_per_schema


def catalogue_cache_of(info: dict[Any, Any]) -> CatalogueCache:
    """Return the cache record of the connection with this `info`."""
    cache: CatalogueCache | None = info.get(_CACHE_KEY)
    if cache is None:
        cache = info[_CACHE_KEY] = CatalogueCache()
    return cache
