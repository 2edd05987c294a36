"""Record the SQL statements that are sent to the database, by round trip."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vca.kit.db import dialect


@contextmanager
def record_sent_sql(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ...]]]:
    """Yield a list with the statements of each round trip, the deferred ones first.

    They are recorded at the driver's cursor, because frequent statements bypass SQLAlchemy.
    """
    round_trips: list[tuple[str, ...]] = []
    execute = dialect._Cursor.execute

    def record_and_execute(cursor: Any, query: Any, vars: Any = None) -> None:
        round_trips.append((*cursor.connection.deferred_sql, str(query).strip()))
        execute(cursor, query, vars)

    with monkeypatch.context() as patched:
        patched.setattr(dialect._Cursor, "execute", record_and_execute)
        yield round_trips
