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

_MEMORY = "memory"
# The part of what a connection may hold after which others are opened, while the pool may: of
# few connections, the one that knows is often in use.
SPREAD = 8
# Statements whose tables are remembered; a product has some hundreds.
_STATEMENTS = 4096
_wanted: ContextVar[str | None] = ContextVar("wanted_schema", default=None)


class Tables:
    """The tables that each schema has, and which of them a statement is about.

    Without any it is not known what a statement touches, and each schema counts as a whole one.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        names = sorted(names)
        self._word = re.compile(rf"\b(?:{'|'.join(names)})\b") if names else None
        self.of = lru_cache(_STATEMENTS)(self._of)
        # A schema itself counts like a table: its path, its role and its fence are read too.
        self.whole = 1 + len(names)

    def _of(self, statement: str) -> frozenset[str]:
        """Those named in it: maybe one too many. Foreign keys look into others, unnamed."""
        return frozenset(self._word.findall(statement) if self._word else ())


class Memory:
    """What the server process of one connection has read of the catalogue."""

    def __init__(self) -> None:
        self._schemas: dict[str, set[str]] = {}
        self._here: set[str] = set()
        self.held = 0

    def enter(self, schema: str) -> None:
        """It serves `schema` from now on."""
        if schema not in self._schemas:
            self._schemas[schema] = set()
            self.held += 1
        self._here = self._schemas[schema]

    def touch(self, tables: frozenset[str]) -> None:
        """It has read these tables of the schema that it serves."""
        if not tables <= self._here:
            self.held += len(tables - self._here)
            self._here |= tables

    def knows(self, schema: str | None) -> bool:
        """Whether it has served it."""
        return schema in self._schemas


def memory_of(info: dict[Any, Any]) -> Memory:
    """That of the connection with this `info`."""
    found: Memory | None = info.get(_MEMORY)
    if found is None:
        found = info[_MEMORY] = Memory()
    return found


@contextmanager
def wanted(schema: str | None) -> Iterator[None]:
    """What is taken from a pool inside is meant for `schema`; None: for no schema in particular."""
    token = _wanted.set(schema)
    try:
        yield
    finally:
        _wanted.reset(token)


def is_worn(info: dict[Any, Any], most: int, tables: Tables) -> bool:
    """Whether the connection must end before it serves what is wanted now.

    It might then hold more of the catalogue than `most` whole schemas are. Without a wish: whether
    it does already.
    """
    memory, schema = memory_of(info), _wanted.get()
    another = schema is not None and not memory.knows(schema)
    return memory.held + another * tables.whole > most * tables.whole


class WarmestFirst(Queue[Any]):
    """A pool's idle connections, those that were used last at the end.

    Whoever wants a schema gets the last that knows it, else one that remembers little yet. Is there
    neither, the pool opens another connection, or, when it may not, one that has room is taken, or
    the longest idle one makes room. Whoever wants none gets the last.
    """

    most_known: int
    tables: Tables

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As ever; and Empty, unless told to wait, if another one had better be opened."""
        with self.mutex:
            if not block and self.queue and self._suitable(self.most_known / SPREAD) is None:
                raise Empty
            return super().get(block, timeout)

    def _get(self) -> Any:
        at = self._suitable(self.most_known / SPREAD)
        if at is None:
            at = self._suitable(self.most_known) or 0
        record = self.queue[at]
        del self.queue[at]
        return record

    def _suitable(self, most: float) -> int | None:
        """Where one is that knows what is wanted, or the longest idle with room in `most`."""
        schema, last = _wanted.get(), len(self.queue) - 1
        if schema is None:
            return last
        roomy, room = None, (most - 1) * self.tables.whole
        for at in range(last, -1, -1):
            memory = memory_of(self.queue[at].info)
            if memory.knows(schema):
                return at
            if memory.held <= max(0.0, room):
                roomy = at
        return roomy
