"""Which idle connection serves a schema: one whose server process has read its catalogue already.

The first visit to a schema costs a server process some milliseconds, more than a whole request
otherwise, and more than a third of a MiB for as long as it lives. With thousands of schemas any
connection soon holds all that it may; so each keeps its own part of them, and the pool is as large
a memory as all of its connections together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy.util.queue import Empty, Queue

_KNOWN = "schemas"
_wanted: ContextVar[str | None] = ContextVar("wanted_schema", default=None)


@contextmanager
def wanted(schema: str | None) -> Iterator[None]:
    """What is taken from a pool inside is meant for `schema`; None: for no schema in particular."""
    token = _wanted.set(schema)
    try:
        yield
    finally:
        _wanted.reset(token)


def learn(info: dict[Any, Any], schema: str) -> None:
    """Note that the server process of this connection has read `schema`'s catalogue."""
    info.setdefault(_KNOWN, set()).add(schema)


def is_worn(info: dict[Any, Any], most: int) -> bool:
    """Whether the connection must end before it serves what is wanted now: it would hold too much.

    Without a wish: whether it holds more than `most` already.
    """
    known, schema = info.get(_KNOWN, ()), _wanted.get()
    return len(known) + (schema is not None and schema not in known) > most


class WarmestFirst(Queue[Any]):
    """A pool's idle connections, those that were used last at the end.

    Whoever wants a schema gets the last that knows it, else the last that has room for it. Is there
    neither, the pool opens another connection, or, when it may not, the longest idle one makes
    room. Whoever wants none gets the last.
    """

    most_known: int

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As ever; and Empty, unless told to wait, if all are full of other schemas."""
        with self.mutex:
            if not block and self.queue and self._suitable() is None:
                raise Empty
            return super().get(block, timeout)

    def _get(self) -> Any:
        at = self._suitable() or 0
        record = self.queue[at]
        del self.queue[at]
        return record

    def _suitable(self) -> int | None:
        """Where one is that knows what is wanted, or has room for it."""
        schema, last = _wanted.get(), len(self.queue) - 1
        if schema is None:
            return last
        roomy = None
        for at in range(last, -1, -1):
            known = self.queue[at].info.get(_KNOWN, ())
            if schema in known:
                return at
            if roomy is None and len(known) < self.most_known:
                roomy = at
        return roomy
